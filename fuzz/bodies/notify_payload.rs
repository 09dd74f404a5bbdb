//! What any role of the database may send. Nothing that is not signed is believed.

use rowcast::ingest::payload::read;

pub fn run(data: &[u8]) {
    if let Ok(payload) = std::str::from_utf8(data) {
        assert!(
            read(payload, &[7; 32], |id| format!("n.{id}").into()).is_err(),
            "believed: {payload}"
        );
    }
}
