//! What a client hands back as `after`. Any text is a position or an error; a position is written as it was read.

use std::sync::OnceLock;

use rowcast::domain::position::Position;
use rowcast::postgres::identity::{Epoch, EpochPolicy, Identity};

pub fn run(data: &[u8]) {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    let identity = IDENTITY.get_or_init(|| {
        let epoch = Epoch { system: 7, database: 5, timeline: 1 };
        Identity::new(EpochPolicy::Trust, epoch, &[7; 32])
    });
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = identity.position(text);
    }
    // Others are never written, and what was not written here is not believed.
    let is_a_place = |position: &Position| position.upto.includes(&position.before);
    if let Some(position) = Position::read(data).filter(is_a_place) {
        let mut bytes = Vec::new();
        position.write(&mut bytes);
        assert_eq!(Position::read(&bytes).as_ref(), Some(&position));
        let id = identity.tokens(&position.before, &position.upto).behind(position.last);
        assert_eq!(identity.position(&id).as_ref(), Ok(&position));
        assert!(id.len() <= 1000, "{} characters", id.len());
    }
}
