//! Keeps what the daemons of the suite log, and what must not be in there.
//!
//! `./test` names a folder, and greps once everything has run: `log` is what was logged at the finest level, `secrets`
//! the tokens, tickets and rows that went through this process, one a line.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Where both files are; without it nothing is kept.
const FOLDER: &str = "ROWCAST_TEST_SAID";

/// From now on the daemons of this process log into the folder.
pub fn listen() {
    static LISTENING: OnceLock<()> = OnceLock::new();
    LISTENING.get_or_init(|| {
        let Some(log) = open("log") else { return };
        // What the test's own client says is not the daemon's.
        let filter = rowcast::telemetry::filter("trace,tungstenite=off,tokio_tungstenite=off");
        let builder = tracing_subscriber::fmt().with_env_filter(filter.expect("a good filter"));
        let _ = builder.with_ansi(false).with_writer(Mutex::new(log)).try_init();
    });
}

/// Notes what no log may hold.
pub fn secret(text: &str) {
    static SECRETS: OnceLock<Option<Mutex<File>>> = OnceLock::new();
    // What is shorter is in every log by chance.
    if let Some(file) = SECRETS.get_or_init(|| open("secrets").map(Mutex::new))
        && text.len() >= 24
        && !text.contains('\n')
    {
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(file, "{text}").expect("the folder of the run can be written to");
    }
}

fn open(name: &str) -> Option<File> {
    let path = PathBuf::from(std::env::var_os(FOLDER)?).join(name);
    File::options().create(true).append(true).open(path).ok()
}
