//! Autobahn's chapter 6, every sequence of it: what is UTF-8 and what is not, whole and in any pieces.

use super::*;

/// One frame, and a frame for each byte.
#[track_caller]
fn passes(bytes: &[u8]) {
    let text = str::from_utf8(bytes).expect("the case is UTF-8");
    yields(&[last(TEXT, bytes)], &[said(text)], None);
    yields(&bytewise(bytes), &[said(text)], None);
}

#[track_caller]
fn is_refused(bytes: &[u8]) {
    refuses(&[last(TEXT, bytes)], CloseReason::BrokenText);
    refuses(&[frame(TEXT, bytes), last(CONTINUATION, b"")], CloseReason::BrokenText);
    refuses(&bytewise(bytes), CloseReason::BrokenText);
}

fn bytewise(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut frames: Vec<_> = bytes.chunks(1).map(|byte| frame(CONTINUATION, byte)).collect();
    frames[0][0] |= TEXT;
    frames.last_mut().unwrap()[0] |= LAST;
    frames
}

const GREETING: &[u8] = "κόσμε".as_bytes();

#[test]
fn valid_utf8_passes_whole_and_cut_inside_characters() {
    for text in
        ["Hello-µ@ßöäüàá-UTF-8!!", "hello$world", "hello¢world", "hello€world", "hello𤭢world"]
    {
        passes(text.as_bytes());
    }
}

/// 6.6: a text that ends inside a character is none.
#[test]
fn of_a_texts_beginnings_those_that_end_with_a_character_pass() {
    for length in 1..=GREETING.len() {
        let beginning = &GREETING[..length];
        match str::from_utf8(beginning) {
            Ok(_) => passes(beginning),
            Err(_) => is_refused(beginning),
        }
    }
}

/// 6.7, 6.9, 6.11, 6.22 and 6.23.
#[test]
fn boundaries_and_what_is_no_character_pass() {
    for bytes in [
        &b"\x00"[..],
        b"\xc2\x80",
        b"\xe0\xa0\x80",
        b"\xf0\x90\x80\x80",
        b"\x7f",
        b"\xdf\xbf",
        b"\xef\xbf\xbf",
        b"\xf4\x8f\xbf\xbf",
        b"\xed\x9f\xbf",
        b"\xee\x80\x80",
    ] {
        passes(bytes);
    }
    let planes = (0..=16).flat_map(|plane| [plane << 16 | 0xfffe, plane << 16 | 0xffff]);
    for code in planes.chain(0xfff9..=0xffff) {
        passes(char::from_u32(code).expect("no surrogate").to_string().as_bytes());
    }
}

/// 6.8, 6.10 and the last of 6.11: beyond the last character there is.
#[test]
fn characters_beyond_the_last_are_refused() {
    for bytes in [
        &b"\xf8\x88\x80\x80\x80"[..],
        b"\xfc\x84\x80\x80\x80\x80",
        b"\xf7\xbf\xbf\xbf",
        b"\xfb\xbf\xbf\xbf\xbf",
        b"\xfd\xbf\xbf\xbf\xbf\xbf",
        b"\xf4\x90\x80\x80",
    ] {
        is_refused(bytes);
    }
}

/// 6.12: continuations of nothing, one to all of them.
#[test]
fn unexpected_continuations_are_refused() {
    for length in 1..=6 {
        let bytes: Vec<u8> = [0x80, 0xbf].into_iter().cycle().take(length).collect();
        is_refused(&bytes);
    }
    is_refused(b"\xbf");
    is_refused(&(0x80..0xbf).collect::<Vec<u8>>());
}

/// 6.13: each alone, and all of a length in a row.
#[test]
fn lonely_beginnings_are_refused() {
    for range in [0xc0..=0xdf_u8, 0xe0..=0xef, 0xf0..=0xf7, 0xf8..=0xfb, 0xfc..=0xfd] {
        for first in range.clone() {
            is_refused(&[first, b' ']);
        }
        is_refused(&range.flat_map(|first| [first, b' ']).collect::<Vec<u8>>());
    }
}

const INCOMPLETE: &[&[u8]] = &[
    b"\xc0",
    b"\xe0\x80",
    b"\xf0\x80\x80",
    b"\xf8\x80\x80\x80",
    b"\xfc\x80\x80\x80\x80",
    b"\xdf",
    b"\xef\xbf",
    b"\xf7\xbf\xbf",
    b"\xfb\xbf\xbf\xbf",
    b"\xfd\xbf\xbf\xbf\xbf",
];

/// 6.14 and 6.15.
#[test]
fn a_missing_last_byte_is_refused() {
    for bytes in INCOMPLETE {
        is_refused(bytes);
    }
    is_refused(&INCOMPLETE.concat());
    for bytes in [&b"\xc2"[..], b"\xe0\xa0", b"\xf0\x90\x80", b"ok\xce"] {
        is_refused(bytes);
        refuses(&[frame(TEXT, bytes), last(CONTINUATION, b"x")], CloseReason::BrokenText);
    }
}

/// 6.16.
#[test]
fn bytes_that_are_never_in_utf8_are_refused() {
    for bytes in [&b"\xfe"[..], b"\xff", b"\xfe\xfe\xff\xff"] {
        is_refused(bytes);
    }
}

/// 6.17 to 6.19: one character has one spelling.
#[test]
fn overlong_spellings_are_refused() {
    for bytes in [
        &b"\xc0\xaf"[..],
        b"\xe0\x80\xaf",
        b"\xf0\x80\x80\xaf",
        b"\xf8\x80\x80\x80\xaf",
        b"\xfc\x80\x80\x80\x80\xaf",
        b"\xc1\xbf",
        b"\xe0\x9f\xbf",
        b"\xf0\x8f\xbf\xbf",
        b"\xf8\x87\xbf\xbf\xbf",
        b"\xfc\x83\xbf\xbf\xbf\xbf",
        b"\xc0\x80",
        b"\xe0\x80\x80",
        b"\xf0\x80\x80\x80",
        b"\xf8\x80\x80\x80\x80",
        b"\xfc\x80\x80\x80\x80\x80",
    ] {
        is_refused(bytes);
    }
}

/// 6.20 and 6.21: every surrogate, and the pairs of the corners.
#[test]
fn surrogates_are_refused_single_and_paired() {
    let spelt = |code: u16| {
        let continuation = |bits: u16| 0x80 | u8::try_from(bits & 0x3f).expect("six bits");
        [0xed, continuation(code >> 6), continuation(code)]
    };
    for code in 0xd800..=0xdfff {
        is_refused(&spelt(code));
    }
    for first in [0xd800, 0xdb7f, 0xdb80, 0xdbff] {
        for second in [0xdc00, 0xdfff] {
            is_refused(&[spelt(first), spelt(second)].concat());
        }
    }
}

/// 6.3.*: good text before the mistake and behind it helps nothing.
#[test]
fn a_mistake_in_the_middle_is_refused() {
    for mistake in [&b"\xed\xa0\x80"[..], b"\xf4\x90\x80\x80", b"\xff"] {
        is_refused(&[GREETING, mistake, b"edited"].concat());
    }
    is_refused(b"Hello-\xc2\xb5\xed\xa0\x80edited");
}

/// 6.4.*: by frames and by bytes, at the first byte that no other can make good.
#[test]
fn hopeless_text_is_refused_before_its_frame_is_complete() {
    let whole = last(TEXT, &[GREETING, b"\xf4\x90\x80\x80edited"].concat());
    let head = 6 + GREETING.len();
    // Two bytes into the four-byte character no continuation can help any more.
    refuses(&[whole[..head + 2].to_vec()], CloseReason::BrokenText);
    assert_eq!(decode([&whole[..=head]], MAX), (vec![], None));
    for cut in 1..GREETING.len() {
        let (first, second) = GREETING.split_at(cut);
        let frames = [frame(TEXT, first), frame(CONTINUATION, &[second, b"\xf4\x90"].concat())];
        refuses(&frames, CloseReason::BrokenText);
    }
}

/// Whatever three bytes a text consists of, it is judged as the language's own library judges it.
#[test]
fn every_text_of_up_to_three_bytes_of_interest_is_judged_rightly() {
    let bytes = [
        0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xed,
        0xef, 0xf0, 0xf4, 0xf5, 0xff,
    ];
    for a in bytes {
        for b in bytes {
            for c in bytes {
                let text = [a, b, c];
                match str::from_utf8(&text) {
                    Ok(_) => passes(&text),
                    Err(_) => is_refused(&text),
                }
            }
        }
    }
}
