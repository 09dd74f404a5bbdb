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
        let uri = url.uri().clone();
        let is_https = uri.scheme_str() == Some("https");
        let roots = if is_https { system_roots()? } else { RootCertStore::empty() };
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls(roots)?);
        let builder = if is_https { builder.https_only() } else { builder.https_or_http() };
        // An idle connection would be closed by the other side long before the next round.
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .http1_max_buf_size(MAX_HEAD_BYTES)
            .build(builder.enable_http1().build());
        Ok(Self { client, uri })
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
