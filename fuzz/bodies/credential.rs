//! What somebody claims to be. Any text is refused, but for what was signed with the key.

use std::sync::OnceLock;
use std::time::SystemTime;

use rowcast::auth::{Authenticator, Place};
use rowcast::config::Sources;

pub fn run(data: &[u8]) {
    static AUTHENTICATOR: OnceLock<Authenticator> = OnceLock::new();
    let authenticator = AUTHENTICATOR.get_or_init(|| {
        let secret = (
            "ROWCAST_JWT_SECRET".to_owned(),
            "a secret of the fuzzer, 32 bytes or more".to_owned(),
        );
        let sources = Sources { environment: [secret].into_iter().collect(), ..Sources::default() };
        let Ok(loaded) = sources.load_text("") else { panic!("the defaults are valid") };
        Authenticator::new(&loaded.config.auth).expect("the secret is a key")
    });
    if let Ok(token) = std::str::from_utf8(data) {
        for place in [Place::Message, Place::Header] {
            assert!(
                authenticator.verify(token, place, SystemTime::now()).is_err(),
                "accepted: {token}"
            );
        }
    }
}
