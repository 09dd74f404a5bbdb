//! Asks the issuer for its keys.
//!
//! In: its URL. Out: the body of the answer. Invariant: over https the issuer has proved who it is; no redirect is
//! followed, and no answer is larger than a bound.

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};

use super::KeyFault;
use crate::config::JwksUrl;

pub(super) struct Fetcher {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    uri: Uri,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum FetchFault {
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    #[error("it answered {0} and not 200 OK")]
    Status(StatusCode),
    #[error("its answer is larger than {MAX_BYTES} bytes")]
    TooLarge,
    #[error("its answer broke off: {0}")]
    Body(String),
}

impl Fetcher {
    pub fn new(url: &JwksUrl) -> Result<Self, KeyFault> {
        let roots = if is_https(url) { system_roots()? } else { RootCertStore::empty() };
        Self::trusting(roots, url)
    }

    fn trusting(roots: RootCertStore, url: &JwksUrl) -> Result<Self, KeyFault> {
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls(roots)?);
        let builder = if is_https(url) { builder.https_only() } else { builder.https_or_http() };
        // An idle connection would be closed by the other side long before the next round.
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .http1_max_buf_size(MAX_HEAD_BYTES)
            .build(builder.enable_http1().build());
        Ok(Self { client, uri: url.uri().clone() })
    }

    pub async fn fetch(&self) -> Result<Bytes, FetchFault> {
        let request = Request::get(&self.uri)
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .header(header::USER_AGENT, concat!("rowcast/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .expect("the URL is one, and the headers are fixed");
        let answer = self.client.request(request).await;
        let answer = answer.map_err(|error| FetchFault::Unreachable(whole(&error)))?;
        match answer.status() {
            StatusCode::OK => read(answer.into_body()).await,
            other => Err(FetchFault::Status(other)),
        }
    }
}

async fn read(body: Incoming) -> Result<Bytes, FetchFault> {
    match Limited::new(body, MAX_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(FetchFault::TooLarge),
        Err(error) => Err(FetchFault::Body(whole(error.as_ref()))),
    }
}

fn is_https(url: &JwksUrl) -> bool {
    url.uri().scheme_str() == Some("https")
}

fn tls(roots: RootCertStore) -> Result<ClientConfig, KeyFault> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|_| KeyFault::NoRoots)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn system_roots() -> Result<RootCertStore, KeyFault> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if store.is_empty() { Err(KeyFault::NoRoots) } else { Ok(store) }
}

/// An error of the client says what went wrong only in its causes.
fn whole(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// A hundred RSA keys with their certificates have less.
const MAX_BYTES: usize = 256 << 10;

const MAX_HEAD_BYTES: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::path::Path;
    use std::process::{Child, Command, Stdio};

    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    /// A server of OpenSSL's own that hands out the files of a folder.
    struct Server {
        process: Child,
        port: u16,
    }

    impl Server {
        fn start(folder: &Path, name: &str) -> Self {
            let certificate = format!("{name}.pem");
            let mut command = openssl(folder);
            command.args(["s_server", "-accept", "127.0.0.1:0", "-WWW", "-cert", &certificate]);
            command
                .args(["-key", &format!("{name}.key")])
                .stdin(Stdio::null())
                .stdout(Stdio::piped());
            let mut process = command.spawn().unwrap();
            let lines = BufReader::new(process.stdout.take().unwrap()).lines();
            let mut ready = lines.map(Result::unwrap).filter(|line| line.starts_with("ACCEPT"));
            let port = ready.next().and_then(|line| line.rsplit(':').next()?.trim().parse().ok());
            Self { process, port: port.unwrap() }
        }

        async fn asked_as(&self, host: &str, roots: &RootCertStore) -> Result<Bytes, FetchFault> {
            let url = format!("https://{host}:{}/jwks.json", self.port);
            Fetcher::trusting(roots.clone(), &url.parse().unwrap()).unwrap().fetch().await
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }

    fn openssl(folder: &Path) -> Command {
        let mut command = Command::new("openssl");
        command.current_dir(folder).stderr(Stdio::null());
        command
    }

    /// An authority, and a certificate of it for this subject.
    fn certify(folder: &Path, name: &str, subject: &str) -> RootCertStore {
        const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        let (root, leaf) = (format!("{name}-root"), name);
        for line in [
            format!(
                "req -x509 {KEY} -subj /CN={root} -keyout {root}.key -out {root}.pem -addext keyUsage=keyCertSign"
            ),
            format!(
                "req -x509 {KEY} -subj /CN={leaf} -keyout {leaf}.key -out {leaf}.pem -CA {root}.pem -CAkey {root}.key \
                     -addext subjectAltName={subject} -addext basicConstraints=critical,CA:FALSE"
            ),
        ] {
            assert!(
                openssl(folder).args(line.split_whitespace()).status().unwrap().success(),
                "{line}"
            );
        }
        let root = CertificateDer::from_pem_file(folder.join(format!("{root}.pem"))).unwrap();
        let mut store = RootCertStore::empty();
        store.add(root).unwrap();
        store
    }

    #[tokio::test]
    async fn over_https_an_issuer_has_to_prove_who_it_is() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("jwks.json"), "the keys").unwrap();
        let trusted = certify(folder.path(), "issuer", "IP:127.0.0.1");
        let stranger = certify(folder.path(), "stranger", "IP:127.0.0.1");
        let server = Server::start(folder.path(), "issuer");
        assert_eq!(server.asked_as("127.0.0.1", &trusted).await.unwrap(), "the keys");
        for (host, roots, why) in [
            ("127.0.0.1", &stranger, "UnknownIssuer"),
            ("127.0.0.1", &RootCertStore::empty(), "UnknownIssuer"),
            ("localhost", &trusted, "not valid for name"),
        ] {
            let fault = server.asked_as(host, roots).await.unwrap_err().to_string();
            assert!(fault.contains(why), "{host}: {fault}");
        }
    }
}
