//! A configuration file. Any text is a configuration or a list of faults with lines.

use rowcast::config::Sources;

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // Names of files would be opened.
    if text.contains("_file") {
        return;
    }
    let secret =
        ("ROWCAST_JWT_SECRET".to_owned(), "a secret of the fuzzer, 32 bytes or more".to_owned());
    let sources = Sources { environment: [secret].into_iter().collect(), ..Sources::default() };
    if let Err(faults) = sources.load_text(text) {
        assert!(!faults.to_string().is_empty());
    }
}
