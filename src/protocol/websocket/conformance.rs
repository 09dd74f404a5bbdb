//! The cases of the Autobahn suite that matter to a server of text messages, and a few of our own.

mod text;

use super::*;

const MAX: usize = 100_000;
const LAST: u8 = 0x80;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// A client's frame: `first` carries the opcode and whatever bits the case sets.
pub(super) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match payload.len() {
        length @ ..126 => frame.push(0x80 | u8::try_from(length).unwrap()),
        length @ 126..=0xffff => {
            frame.push(0xfe);
            frame.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            frame.push(0xff);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn last(opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame(LAST | opcode, payload)
}

/// A close frame's payload.
fn closing(code: u16, reason: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), reason].concat()
}

fn said(text: &str) -> Incoming {
    Incoming::Text(text.to_owned())
}

fn pinged(payload: &[u8]) -> Incoming {
    Incoming::Ping(Bytes::copy_from_slice(payload))
}

/// What a decoder makes of the bytes: the messages, and the reason it gave up if it did.
pub(super) fn decode<'a>(
    chunks: impl IntoIterator<Item = &'a [u8]>,
    max_message_bytes: usize,
) -> (Vec<Incoming>, Option<CloseReason>) {
    let mut decoder = Decoder::new(max_message_bytes);
    let mut messages = Vec::new();
    for mut chunk in chunks {
        loop {
            match decoder.next(&mut chunk) {
                Ok(Some(incoming)) => messages.push(incoming),
                Ok(None) => break,
                Err(reason) => return (messages, Some(reason)),
            }
        }
        assert!(chunk.is_empty(), "the decoder uses up its input");
    }
    (messages, None)
}

/// Whole, and byte by byte: the outcome is the same.
#[track_caller]
fn yields(frames: &[Vec<u8>], messages: &[Incoming], end: impl Into<Option<CloseReason>>) {
    let bytes = frames.concat();
    let expected = (messages.to_vec(), end.into());
    assert_eq!(decode([bytes.as_slice()], MAX), expected, "in one piece");
    assert_eq!(decode(bytes.chunks(1), MAX), expected, "byte by byte");
}

#[track_caller]
fn refuses(frames: &[Vec<u8>], reason: CloseReason) {
    yields(frames, &[], reason);
}

#[test]
fn text_of_any_length_arrives_whole() {
    for length in [0, 1, 125, 126, 127, 128, 65_535, 65_536, MAX] {
        let text = "*".repeat(length);
        yields(&[last(TEXT, text.as_bytes())], &[said(&text)], None);
    }
}

#[test]
fn a_message_over_the_limit_is_refused_at_its_head() {
    let whole = last(TEXT, &vec![b'x'; MAX + 1]);
    refuses(&[whole[..10].to_vec()], CloseReason::TooBig);
}

#[test]
fn fragments_count_together_towards_the_limit() {
    let half = vec![b'x'; MAX / 2 + 1];
    refuses(&[frame(TEXT, &half), last(CONTINUATION, &half)], CloseReason::TooBig);
    let exact = vec![b'x'; MAX / 2];
    let both = "x".repeat(MAX);
    yields(&[frame(TEXT, &exact), last(CONTINUATION, &exact)], &[said(&both)], None);
}

#[test]
fn absurd_lengths_are_refused_without_taking_memory() {
    let announce = |length: u64| [&[0x81, 0xff], length.to_be_bytes().as_slice()].concat();
    refuses(&[announce(1 << 63)], CloseReason::BrokenFraming);
    refuses(&[announce(u64::MAX)], CloseReason::BrokenFraming);
    refuses(&[announce((1 << 63) - 1)], CloseReason::TooBig);
    refuses(&[announce(1 << 32)], CloseReason::TooBig);
}

#[test]
fn memory_follows_what_arrived_and_not_what_was_announced() {
    let mut decoder = Decoder::new(1 << 30);
    let whole = [&[0x81, 0xff], (1_u64 << 30).to_be_bytes().as_slice(), &[0; 4], b"begin"].concat();
    assert_eq!(decoder.next(&mut whole.as_slice()), Ok(None));
    assert!(decoder.message.capacity() < 64, "{}", decoder.message.capacity());
}

#[test]
fn a_connection_between_two_messages_holds_no_buffer() {
    let mut decoder = Decoder::new(MAX);
    let bytes = [last(TEXT, b"hello"), last(PING, b"p"), last(PONG, b"q")].concat();
    let mut input = bytes.as_slice();
    while decoder.next(&mut input).unwrap().is_some() {}
    assert_eq!(decoder.message.capacity() + decoder.control.capacity(), 0);
}

#[test]
fn lengths_in_a_longer_form_than_needed_are_refused() {
    refuses(&[vec![0x81, 0xfe, 0, 125]], CloseReason::BrokenFraming);
    refuses(&[vec![0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff]], CloseReason::BrokenFraming);
}

#[test]
fn an_unmasked_frame_is_refused() {
    refuses(&[vec![0x81, 5, b'h', b'e', b'l', b'l', b'o']], CloseReason::BrokenFraming);
    refuses(&[vec![0x89, 0]], CloseReason::BrokenFraming);
}

#[test]
fn reserved_bits_are_refused_on_any_frame() {
    for bits in [0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70] {
        for opcode in [TEXT, CLOSE, PING, PONG] {
            refuses(&[last(bits | opcode, b"")], CloseReason::BrokenFraming);
        }
    }
    yields(
        &[last(TEXT, b"good"), last(0x40 | TEXT, b"bad"), last(PING, b"")],
        &[said("good")],
        CloseReason::BrokenFraming,
    );
}

#[test]
fn unknown_opcodes_are_refused() {
    for opcode in (0x3..=0x7).chain(0xb..=0xf) {
        refuses(&[last(opcode, b"")], CloseReason::BrokenFraming);
        refuses(&[frame(TEXT, b"a"), last(opcode, b"b")], CloseReason::BrokenFraming);
    }
}

#[test]
fn binary_messages_are_refused_by_name() {
    refuses(&[last(BINARY, b"")], CloseReason::Binary);
    refuses(&[frame(BINARY, b"\xfe")], CloseReason::Binary);
}

#[test]
fn pings_come_with_their_payload() {
    for payload in [&b""[..], b"Hello, world!", &[0x00, 0xff, 0xfe, 0xfd], &[0xfe; 125]] {
        yields(&[last(PING, payload)], &[pinged(payload)], None);
    }
    let ten: Vec<_> = (0..10).map(|n| last(PING, &[n])).collect();
    let answers: Vec<_> = (0..10).map(|n| pinged(&[n])).collect();
    yields(&ten, &answers, None);
}

#[test]
fn unsolicited_pongs_are_fine() {
    yields(
        &[last(PONG, b""), last(PONG, b"unasked"), last(PING, b"p")],
        &[Incoming::Pong, Incoming::Pong, pinged(b"p")],
        None,
    );
}

#[test]
fn control_frames_are_small_and_whole() {
    for opcode in [CLOSE, PING, PONG] {
        refuses(&[last(opcode, &[0xfe; 126])], CloseReason::BrokenFraming);
        refuses(&[frame(opcode, b"")], CloseReason::BrokenFraming);
    }
    refuses(&[frame(PING, b"a"), last(CONTINUATION, b"b")], CloseReason::BrokenFraming);
}

#[test]
fn fragments_make_one_message() {
    yields(&[frame(TEXT, b"frag"), last(CONTINUATION, b"ment")], &[said("fragment")], None);
    let empty = [frame(TEXT, b""), frame(CONTINUATION, b""), last(CONTINUATION, b"")];
    yields(&empty, &[said("")], None);
    let middle = [frame(TEXT, b""), frame(CONTINUATION, b"middle"), last(CONTINUATION, b"")];
    yields(&middle, &[said("middle")], None);
}

#[test]
fn control_frames_may_stand_between_fragments() {
    yields(
        &[
            frame(TEXT, b"1"),
            last(PING, b"p1"),
            frame(CONTINUATION, b"2"),
            last(PONG, b""),
            last(PING, b"p2"),
            last(CONTINUATION, b"3"),
        ],
        &[pinged(b"p1"), Incoming::Pong, pinged(b"p2"), said("123")],
        None,
    );
    yields(
        &[frame(TEXT, b"begun"), last(CLOSE, &closing(1000, b"")), last(CONTINUATION, b"more")],
        &[Incoming::Close(Some(1000))],
        None,
    );
}

#[test]
fn a_continuation_of_nothing_is_refused() {
    refuses(&[last(CONTINUATION, b"x"), last(TEXT, b"y")], CloseReason::BrokenFraming);
    refuses(&[frame(CONTINUATION, b"x"), last(TEXT, b"y")], CloseReason::BrokenFraming);
    yields(
        &[frame(TEXT, b"a"), last(CONTINUATION, b"b"), frame(CONTINUATION, b"c")],
        &[said("ab")],
        CloseReason::BrokenFraming,
    );
}

/// 5.15 to 5.17: what was whole before it has been said.
#[test]
fn a_continuation_of_what_has_ended_is_refused() {
    let whole = [frame(TEXT, b"1"), last(CONTINUATION, b"2")].concat();
    let broken = CloseReason::BrokenFraming;
    yields(&[whole, frame(CONTINUATION, b"3"), last(TEXT, b"4")], &[said("12")], broken);
    refuses(&[frame(CONTINUATION, b"1"), frame(TEXT, b"2"), last(CONTINUATION, b"3")], broken);
    refuses(&[last(CONTINUATION, b"1"), frame(TEXT, b"2"), last(CONTINUATION, b"3")], broken);
}

/// 5.19 and 5.20: pings are answered at once, not behind the message they stand in.
#[test]
fn pings_inside_a_message_of_five_frames_come_before_it() {
    let frames = [
        frame(TEXT, b"fragment1"),
        frame(CONTINUATION, b"fragment2"),
        last(PING, b"pongme 1!"),
        frame(CONTINUATION, b"fragment3"),
        frame(CONTINUATION, b"fragment4"),
        last(PING, b"pongme 2!"),
        last(CONTINUATION, b"fragment5"),
    ];
    let whole = said("fragment1fragment2fragment3fragment4fragment5");
    yields(&frames, &[pinged(b"pongme 1!"), pinged(b"pongme 2!"), whole], None);
}

/// 10.1.1.
#[test]
fn a_long_text_in_frames_of_1300_bytes_arrives_whole() {
    let text = "*".repeat(65_536);
    let mut frames: Vec<_> =
        text.as_bytes().chunks(1300).map(|piece| frame(CONTINUATION, piece)).collect();
    frames[0][0] |= TEXT;
    frames.last_mut().unwrap()[0] |= LAST;
    yields(&frames, &[said(&text)], None);
}

#[test]
fn a_new_message_inside_a_fragmented_one_is_refused() {
    refuses(&[frame(TEXT, b"a"), last(TEXT, b"b")], CloseReason::BrokenFraming);
    refuses(&[frame(TEXT, b"a"), frame(TEXT, b"b")], CloseReason::BrokenFraming);
    refuses(&[frame(TEXT, b"a"), last(BINARY, b"b")], CloseReason::BrokenFraming);
}

#[test]
fn a_close_comes_with_its_code() {
    yields(&[last(CLOSE, b"")], &[Incoming::Close(None)], None);
    yields(&[last(CLOSE, &closing(1000, &[b'*'; 123]))], &[Incoming::Close(Some(1000))], None);
    for code in (1000..=1003).chain(1007..=1014).chain([3000, 3999, 4000, 4999]) {
        yields(&[last(CLOSE, &closing(code, b"bye"))], &[Incoming::Close(Some(code))], None);
    }
}

/// Every code there is (7.7.*, 7.9.* and 7.13.* send some of them).
#[test]
fn close_codes_that_never_travel_are_refused() {
    let travels = |code| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
    for code in (0..=u16::MAX).filter(|code| !travels(*code)) {
        refuses(&[last(CLOSE, &closing(code, b""))], CloseReason::BrokenFraming);
    }
    for code in (0..=u16::MAX).filter(|code| travels(*code)) {
        yields(&[last(CLOSE, &closing(code, b""))], &[Incoming::Close(Some(code))], None);
    }
}

#[test]
fn broken_close_payloads_are_refused() {
    refuses(&[last(CLOSE, b"\x03")], CloseReason::BrokenFraming);
    refuses(&[last(CLOSE, &closing(1000, b"\xce\xba\xff"))], CloseReason::BrokenText);
}

#[test]
fn whatever_follows_a_close_or_an_error_is_swallowed() {
    let close = last(CLOSE, &closing(1000, b""));
    yields(
        &[close.clone(), last(TEXT, b"late"), last(PING, b""), close, vec![0xff; 20]],
        &[Incoming::Close(Some(1000))],
        None,
    );
    let mut decoder = Decoder::new(MAX);
    assert_eq!(decoder.next(&mut [0xff, 0xff].as_slice()), Err(CloseReason::BrokenFraming));
    assert_eq!(decoder.next(&mut last(TEXT, b"late").as_slice()), Ok(None));
}
