//! A proxy in front of daemons, started from its file in `contrib/`.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;

use crate::tools::Running;

pub struct Front {
    pub address: SocketAddr,
    running: Running,
    folder: TempDir,
}

impl Front {
    /// `command` is made from the folder that holds the configuration and takes the logs.
    pub fn start(
        folder: TempDir,
        address: SocketAddr,
        command: impl FnOnce(&Path) -> Command,
    ) -> Self {
        let mut command = command(folder.path());
        Self { address, running: Running::start(&mut command, address), folder }
    }

    /// As a browser names it.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.address.port())
    }

    /// Trusts this proxy's certificate and no other.
    pub fn trust(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let file = self.folder.path().join("front.pem");
        roots.add(CertificateDer::from_pem_file(file).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        builder.with_root_certificates(roots).with_no_client_auth()
    }

    /// Everything that it has logged, once it has ended.
    pub fn stop(mut self) -> String {
        self.running.stop();
        let files = fs::read_dir(self.folder.path()).unwrap().map(|file| file.unwrap().path());
        let logs = files.filter(|path| path.extension().is_some_and(|end| end == "log"));
        logs.map(|path| fs::read_to_string(path).unwrap()).collect()
    }
}

/// A folder with a certificate for `localhost`, `front.pem` and `front.key`.
pub fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("request"), "[req]\ndistinguished_name = dn\n[dn]\n").unwrap();
    let output = Command::new("openssl")
        .current_dir(folder.path())
        .args(["req", "-x509", "-nodes", "-days", "2", "-keyout", "front.key", "-out", "front.pem"])
        .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-config", "request", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=CA:FALSE"])
        .output()
        .expect("openssl is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder
}

/// A shipped file with its marked lines filled in; each must be there, or the test would not test it.
pub fn filled(name: &str, lines: &[(&str, String)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib").join(name);
    let mut text = fs::read_to_string(path).unwrap();
    for (shipped, ours) in lines {
        assert_eq!(text.matches(shipped).count(), 1, "{shipped} in {name}");
        text = text.replace(shipped, ours);
    }
    text
}
