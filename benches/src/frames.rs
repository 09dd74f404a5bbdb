//! Walks over the frames of a WebSocket without looking into them.
//!
//! In: bytes as they come. Out: the pieces of each frame, of which most have one. Invariant: nothing is copied and
//! nothing parsed but headers, so that counting costs the load client next to nothing.

/// Where one socket's stream stands.
#[derive(Debug, Default)]
pub struct Walker {
    header: [u8; 10],
    have: usize,
    opcode: u8,
    left: usize,
    inside: bool,
}

/// As much of a payload as came together.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    pub bytes: &'a [u8],
    pub first: bool,
    pub last: bool,
}

pub const TEXT: u8 = 1;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;

impl Walker {
    /// Calls `piece` with the opcode and what there is of the payload.
    pub fn walk(&mut self, mut bytes: &[u8], mut piece: impl FnMut(u8, Piece)) {
        while !bytes.is_empty() {
            let first = !self.inside;
            if first && !self.take_header(&mut bytes) {
                return;
            }
            let taken = self.left.min(bytes.len());
            let (payload, rest) = bytes.split_at(taken);
            self.left -= taken;
            self.inside = self.left > 0;
            piece(self.opcode, Piece { bytes: payload, first, last: !self.inside });
            bytes = rest;
        }
    }

    /// Whether the header is complete. A server's frames have no mask.
    fn take_header(&mut self, bytes: &mut &[u8]) -> bool {
        loop {
            let needed = match (self.have, self.header[1] & 127) {
                (0..2, _) => 2,
                (_, 126) => 4,
                (_, 127) => 10,
                _ => 2,
            };
            if self.have == needed {
                break;
            }
            let Some((first, rest)) = bytes.split_first() else { return false };
            self.header[self.have] = *first;
            self.have += 1;
            *bytes = rest;
        }
        self.opcode = self.header[0] & 15;
        self.left = match self.have {
            2 => usize::from(self.header[1] & 127),
            _ => {
                self.header[2..self.have].iter().fold(0, |len, byte| len << 8 | usize::from(*byte))
            }
        };
        self.have = 0;
        // An empty payload is complete with its header, also at the end of the bytes.
        self.inside = false;
        true
    }
}

/// A frame of a client; a mask of zeros leaves the payload as it is.
pub fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    framed(opcode, payload, 0x80, &[0; 4])
}

/// A frame of a server.
pub fn unmasked(payload: &[u8]) -> Vec<u8> {
    framed(TEXT, payload, 0, &[])
}

fn framed(opcode: u8, payload: &[u8], flag: u8, mask: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        len @ 0..126 => frame.push(flag | u8::try_from(len).unwrap_or_default()),
        len => {
            frame.push(flag + 126);
            let len = u16::try_from(len).expect("messages of the bench are short");
            frame.extend(len.to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_wherever_the_stream_is_cut() {
        let empty = [0x89, 0];
        let stream = [unmasked(b"short"), unmasked(&[7; 300]), empty.to_vec()].concat();
        for cut in 0..=stream.len() {
            let (mut walker, mut seen) = (Walker::default(), Vec::new());
            for part in [&stream[..cut], &stream[cut..]] {
                walker.walk(part, |opcode, piece| seen.extend(piece.last.then_some(opcode)));
            }
            assert_eq!(seen, [TEXT, TEXT, PING], "cut at {cut}");
        }
    }
}
