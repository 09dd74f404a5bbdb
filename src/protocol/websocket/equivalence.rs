//! Properties of the framing: cuts do not matter, no bytes bring it down, and an independent client agrees.

use std::io::{self, Cursor, Read, Write};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::Index;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocket};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::conformance::{decode, frame};
use super::*;

const MAX: usize = 1 << 20;

proptest! {
    #[test]
    fn cuts_do_not_change_what_arrives(
        frames in prop::collection::vec(any_frame(), 0..12),
        cuts in prop::collection::vec(any::<Index>(), 0..20),
    ) {
        let bytes = frames.concat();
        prop_assert_eq!(decode(cut(&bytes, &cuts), 300), decode([bytes.as_slice()], 300));
    }

    #[test]
    fn no_bytes_bring_the_decoder_down(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let (messages, _) = decode([bytes.as_slice()], 300);
        prop_assert!(messages.len() <= bytes.len());
    }

    #[test]
    fn an_independent_client_is_understood(
        messages in prop::collection::vec(any_message(), 0..8),
        cuts in prop::collection::vec(any::<Index>(), 0..20),
    ) {
        let bytes = client_bytes(&messages);
        let expected: Vec<_> = messages.iter().map(incoming).collect();
        prop_assert_eq!(decode(cut(&bytes, &cuts), MAX), (expected, None));
    }

    #[test]
    fn an_independent_client_understands_us(messages in prop::collection::vec(any_message(), 0..8)) {
        let bytes: Vec<u8> = messages.iter().flat_map(encoded).collect();
        prop_assert_eq!(client_reads(bytes), messages);
    }
}

#[test]
fn an_independent_client_understands_our_close() {
    let reason = CloseReason::TooSlow;
    let expected =
        CloseFrame { code: CloseCode::from(1013), reason: reason.text().into_owned().into() };
    let bytes = close(reason.code(), &reason.text()).to_vec();
    assert_eq!(client_reads(bytes), [Message::Close(Some(expected))]);
}

/// A quadratic decoder would need minutes for this; the margin is for a slow and busy machine.
#[test]
fn a_million_frames_of_one_byte_cost_linear_time() {
    let count = 1_000_000;
    let piece = frame(0x0, b"x");
    let bytes = [frame(0x1, b""), piece.repeat(count), frame(0x80, b"")].concat();
    let began = Instant::now();
    let (messages, end) = decode(bytes.chunks(4096), MAX);
    assert_eq!((messages, end), (vec![Incoming::Text("x".repeat(count))], None));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

/// Mostly what a client may send, sometimes what it may not.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        4 => Just(0x81),
        2 => Just(0x01),
        3 => Just(0x00),
        3 => Just(0x80),
        2 => Just(0x89),
        1 => Just(0x8a),
        1 => any::<u8>(),
    ];
    let payload = prop_oneof![
        4 => "\\PC{0,40}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..140),
    ];
    (first, payload).prop_map(|(first, payload)| frame(first, &payload))
}

fn any_message() -> impl Strategy<Value = Message> {
    let payload = prop::collection::vec(any::<u8>(), 0..=125);
    prop_oneof![
        "\\PC{0,200}".prop_map(Message::text),
        (0..70_000_usize).prop_map(|length| Message::text("ä".repeat(length / 2))),
        payload.clone().prop_map(|bytes| Message::Ping(bytes.into())),
        payload.prop_map(|bytes| Message::Pong(bytes.into())),
    ]
}

fn cut<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let mut begin = 0;
    ends.iter().map(|end| &bytes[mem::replace(&mut begin, *end)..*end]).collect()
}

fn incoming(message: &Message) -> Incoming {
    match message {
        Message::Text(text) => Incoming::Text(text.to_string()),
        Message::Ping(payload) => Incoming::Ping(payload.clone()),
        Message::Pong(_) => Incoming::Pong,
        other => unreachable!("not generated: {other:?}"),
    }
}

fn encoded(message: &Message) -> Bytes {
    match message {
        Message::Text(content) => text(content.as_bytes()),
        Message::Ping(payload) => ping(payload),
        Message::Pong(payload) => pong(payload),
        other => unreachable!("not generated: {other:?}"),
    }
}

fn client_bytes(messages: &[Message]) -> Vec<u8> {
    let mut client = WebSocket::from_raw_socket(Wire::default(), Role::Client, None);
    for message in messages {
        client.send(message.clone()).unwrap();
    }
    client.get_ref().written.clone()
}

fn client_reads(bytes: Vec<u8>) -> Vec<Message> {
    let wire = Wire { to_read: Cursor::new(bytes), written: Vec::new() };
    let mut client = WebSocket::from_raw_socket(wire, Role::Client, None);
    let mut messages = Vec::new();
    loop {
        match client.read() {
            Ok(message) => messages.push(message),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return messages,
            Err(Error::ConnectionClosed) => return messages,
            Err(error) => panic!("the client refused our frames: {error}"),
        }
    }
}

/// The client's end of a connection: gives what we sent, keeps what it writes.
#[derive(Default)]
struct Wire {
    to_read: Cursor<Vec<u8>>,
    written: Vec<u8>,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.to_read.read(buffer)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            length => Ok(length),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
