//! The head of a client's frame: what it says and whether it may say so.
//!
//! In: bytes cut anywhere, and what the connection has been through. Out: a [`Frame`] whose payload
//! follows. Invariant: a frame that breaks a rule is refused before a byte of its payload is read.

use crate::domain::close::CloseReason;

/// Collects the 6 to 14 bytes of a head in place, so that a head cut in two needs no buffer.
#[derive(Debug, Default)]
pub(super) struct Head {
    bytes: [u8; MAX_HEAD],
    filled: usize,
}

/// What decides whether a well-formed head is acceptable now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation {
    /// Only a continuation may go on with a fragmented message, and nothing else may be continued.
    pub fragmented: bool,
    /// Bytes that the begun message may still grow by.
    pub room: usize,
}

/// A frame whose payload is expected next.
#[derive(Debug)]
pub(super) struct Frame {
    pub opcode: Opcode,
    pub is_last: bool,
    pub remaining: usize,
    mask: [u8; 4],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Close,
    Ping,
    Pong,
}

impl Head {
    pub(super) fn read(
        &mut self,
        input: &mut &[u8],
        situation: Situation,
    ) -> Result<Option<Frame>, CloseReason> {
        // In three steps, so that what is wrong is refused as soon as it is seen.
        if !self.fill(FIXED, input) {
            return Ok(None);
        }
        let opcode = self.opcode(situation)?;
        if !self.fill(FIXED + self.extension(), input) {
            return Ok(None);
        }
        let remaining = self.payload_length(opcode, situation)?;
        if !self.fill(FIXED + self.extension() + MASK, input) {
            return Ok(None);
        }
        let mask = self.array(FIXED + self.extension());
        let is_last = self.is_last();
        self.filled = 0;
        Ok(Some(Frame { opcode, is_last, remaining, mask }))
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.filled == 0
    }

    fn fill(&mut self, wanted: usize, input: &mut &[u8]) -> bool {
        let missing = wanted.saturating_sub(self.filled);
        let (piece, rest) = input.split_at(missing.min(input.len()));
        self.bytes[self.filled..self.filled + piece.len()].copy_from_slice(piece);
        *input = rest;
        self.filled += piece.len();
        self.filled >= wanted
    }

    fn opcode(&self, situation: Situation) -> Result<Opcode, CloseReason> {
        let [first, second] = self.array(0);
        if first & RESERVED != 0 || second & MASKED == 0 {
            return Err(CloseReason::BrokenFraming);
        }
        match (first & OPCODE, situation.fragmented) {
            (0x0, true) => Ok(Opcode::Continuation),
            (0x1, false) => Ok(Opcode::Text),
            (0x2, false) => Err(CloseReason::Binary),
            (0x8, _) => self.control(Opcode::Close),
            (0x9, _) => self.control(Opcode::Ping),
            (0xa, _) => self.control(Opcode::Pong),
            _ => Err(CloseReason::BrokenFraming),
        }
    }

    fn control(&self, opcode: Opcode) -> Result<Opcode, CloseReason> {
        let is_whole = self.is_last() && self.extension() == 0;
        if is_whole { Ok(opcode) } else { Err(CloseReason::BrokenFraming) }
    }

    fn is_last(&self) -> bool {
        self.bytes[0] & LAST != 0
    }

    /// How many bytes the length takes beyond the fixed part.
    fn extension(&self) -> usize {
        match self.bytes[1] & LENGTH {
            126 => 2,
            127 => 8,
            _ => 0,
        }
    }

    fn payload_length(&self, opcode: Opcode, situation: Situation) -> Result<usize, CloseReason> {
        let (length, least) = match self.extension() {
            0 => (u64::from(self.bytes[1] & LENGTH), 0),
            2 => (u64::from(u16::from_be_bytes(self.array(FIXED))), 126),
            _ => (u64::from_be_bytes(self.array(FIXED)), 1 << 16),
        };
        // Section 5.2: the top bit is zero, and the shortest form is a must.
        if length < least || length > i64::MAX as u64 {
            return Err(CloseReason::BrokenFraming);
        }
        match usize::try_from(length) {
            Ok(length) if opcode.is_control() || length <= situation.room => Ok(length),
            _ => Err(CloseReason::TooBig),
        }
    }

    fn array<const N: usize>(&self, from: usize) -> [u8; N] {
        let mut array = [0; N];
        array.copy_from_slice(&self.bytes[from..from + N]);
        array
    }
}

impl Frame {
    /// Appends the next piece of the payload as it was before the client masked it.
    pub(super) fn unmask_into(&mut self, piece: &[u8], target: &mut Vec<u8>) {
        let begin = target.len();
        target.extend_from_slice(piece);
        for group in target[begin..].chunks_mut(MASK) {
            for (byte, mask) in group.iter_mut().zip(self.mask) {
                *byte ^= mask;
            }
        }
        self.mask.rotate_left(piece.len() % MASK);
        self.remaining -= piece.len();
    }
}

impl Opcode {
    pub(super) const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

const LAST: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;

const FIXED: usize = 2;
const MASK: usize = 4;
const MAX_HEAD: usize = FIXED + 8 + MASK;
