//! Frames of the server: a head in its shortest form, then the payload, unmasked.

use bytes::{BufMut, Bytes, BytesMut};

/// One text message. The payload is UTF-8 already: it comes from our own encoders.
pub fn text(payload: &[u8]) -> Bytes {
    frame(0x1, payload)
}

/// At most 125 bytes of payload are sent: a control frame has no room for more.
pub fn ping(payload: &[u8]) -> Bytes {
    control(0x9, payload)
}

/// The answer to a ping: its payload again.
pub fn pong(payload: &[u8]) -> Bytes {
    control(0xa, payload)
}

/// The reason is cut, between two characters, to what a control frame can hold.
pub fn close(code: u16, reason: &str) -> Bytes {
    let mut length = reason.len().min(MAX_CONTROL - size_of_val(&code));
    while !reason.is_char_boundary(length) {
        length -= 1;
    }
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(&reason.as_bytes()[..length]);
    control(0x8, &payload)
}

fn control(opcode: u8, payload: &[u8]) -> Bytes {
    frame(opcode, &payload[..payload.len().min(MAX_CONTROL)])
}

fn frame(opcode: u8, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(MAX_HEAD + payload.len());
    frame.put_u8(LAST | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..126), _) => frame.put_u8(length),
        (_, Ok(length)) => {
            frame.put_u8(126);
            frame.put_u16(length);
        }
        _ => {
            frame.put_u8(127);
            frame.put_u64(payload.len() as u64);
        }
    }
    frame.put_slice(payload);
    frame.freeze()
}

const LAST: u8 = 0x80;
/// Without the mask, which a server never sends.
const MAX_HEAD: usize = 10;
/// Section 5.5.
const MAX_CONTROL: usize = 125;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_their_shortest_form() {
        let head = |length: usize| {
            let frame = text(&vec![b'x'; length]);
            frame[..frame.len() - length].to_vec()
        };
        assert_eq!(head(0), [0x81, 0]);
        assert_eq!(head(125), [0x81, 125]);
        assert_eq!(head(126), [0x81, 126, 0, 126]);
        assert_eq!(head(65_535), [0x81, 126, 0xff, 0xff]);
        assert_eq!(head(65_536), [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let frame = close(1012, &"é".repeat(100));
        assert_eq!(frame[..4], [0x88, 124, 0x03, 0xf4]);
        assert_eq!(str::from_utf8(&frame[4..]).unwrap(), "é".repeat(61));
    }

    #[test]
    fn control_frames_stay_small() {
        assert_eq!(ping(&[7; 200]).len(), 127);
        assert_eq!(pong(b"").as_ref(), [0x8a, 0]);
    }
}
