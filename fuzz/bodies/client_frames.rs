//! What comes over a socket. Any bytes are messages or the reason for a close, whatever slices they come in.

use rowcast::protocol::Wire;
use rowcast::protocol::native::Native;
use rowcast::protocol::websocket::{Decoder, Incoming};

const LIMIT: usize = 1024;

pub fn run(data: &[u8]) {
    let whole = decode(data, data.len().max(1));
    for size in [1, 2, 7] {
        assert_eq!(decode(data, size), whole, "in slices of {size}");
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Native.decode(text);
    }
}

/// What is understood, as text, with what ended it.
fn decode(data: &[u8], size: usize) -> Vec<String> {
    let mut decoder = Decoder::new(LIMIT);
    let mut understood = Vec::new();
    for slice in data.chunks(size) {
        let mut rest = slice;
        loop {
            match decoder.next(&mut rest) {
                Ok(Some(Incoming::Text(text))) => {
                    assert!(text.len() <= LIMIT, "{} bytes", text.len());
                    understood.push(format!("{text} {:?}", Native.decode(&text)));
                }
                Ok(Some(other)) => understood.push(format!("{other:?}")),
                Ok(None) => break,
                Err(reason) => {
                    understood.push(format!("{reason:?}"));
                    return understood;
                }
            }
        }
    }
    understood
}
