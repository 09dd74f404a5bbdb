//! Reads what a `*_file` key names.
//!
//! In: a file name as configured. Out: its bytes without the final line break. Invariant: bounded, and
//! a relative name means a systemd credential, or a file beside the configuration, never the current
//! directory by chance.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::Environment;

pub(super) struct KeyFile {
    pub bytes: Vec<u8>,
    /// Whether every user of the machine may read it.
    pub open_to_all: bool,
}

pub(super) fn read(name: &str, base: &Path, environment: &Environment) -> Result<KeyFile, String> {
    let path = locate(name, base, environment);
    let open = || -> std::io::Result<KeyFile> {
        let file = File::open(&path)?;
        let open_to_all = file.metadata()?.permissions().mode() & 0o004 != 0;
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
        Ok(KeyFile { bytes, open_to_all })
    };
    let mut file = open().map_err(|error| format!("cannot be read: {error}"))?;
    if file.bytes.len() as u64 > MAX_BYTES {
        return Err(format!("is larger than {MAX_BYTES} bytes, so it is no key"));
    }
    trim_line_break(&mut file.bytes);
    if file.bytes.is_empty() { Err("is empty".to_owned()) } else { Ok(file) }
}

fn locate(name: &str, base: &Path, environment: &Environment) -> PathBuf {
    let credential = environment.credentials().map(|folder| folder.join(name));
    credential.filter(|path| path.exists()).unwrap_or_else(|| base.join(name))
}

/// Editors and `echo` end a file with one; it is no part of the secret.
fn trim_line_break(bytes: &mut Vec<u8>) {
    if bytes.ends_with(b"\n") {
        bytes.pop();
    }
    if bytes.ends_with(b"\r") {
        bytes.pop();
    }
}

/// The longest PEM key in use, RSA with 16384 bits, has about 3 kB.
const MAX_BYTES: u64 = 65_536;
