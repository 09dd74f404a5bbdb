//! The daemon of a command that is its client: where it is, who to be there, and a socket to it.
//!
//! In: flags, and the configuration for what they leave open. Out: tokens and sockets. Invariant: a refusal is told
//! with what to do about it.

use std::io::ErrorKind;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::{Failure, Settings};
use crate::auth::{Minter, Request};

#[derive(Clone, Debug, clap::Args)]
pub struct Destination {
    /// The daemon's address; the one of the configuration otherwise
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,

    /// A token; without one the configured secret signs one for --user
    #[arg(long, env = "ROWCAST_TOKEN", hide_env_values = true)]
    pub token: Option<String>,

    /// Who to be, where the configured secret signs the token [default: the command's name, numbered where several connect]
    #[arg(long, value_name = "ID")]
    pub user: Option<String>,

    /// The role in that token
    #[arg(long)]
    pub role: Option<String>,

    /// A further claim in that token, as for `rowcast token`
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = super::token::claim)]
    pub claims: Vec<(String, Value)>,
}

pub struct Way {
    url: String,
    pass: Pass,
}

enum Pass {
    Anonymous,
    Given(String),
    Signed { minter: Box<Minter>, request: Request },
}

pub type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

impl Destination {
    /// The configuration is needed only for what the flags leave open.
    pub fn way(&self, settings: &Settings) -> Result<Way, Failure> {
        if let (Some(url), Some(token)) = (&self.url, &self.token) {
            return Ok(Way { url: url.clone(), pass: Pass::Given(token.clone()) });
        }
        let config = settings.load()?.config;
        let own = || format!("ws://{}/v1/ws", config.server.listen);
        let url = self.url.clone().unwrap_or_else(own);
        let pass = match &self.token {
            Some(token) => Pass::Given(token.clone()),
            None if !config.auth.has_key() && config.auth.anonymous => Pass::Anonymous,
            None => {
                let minter = Box::new(Minter::new(&config.auth)?);
                Pass::Signed { minter, request: self.request(config.auth.max_life) }
            }
        };
        Ok(Way { url, pass })
    }

    fn request(&self, max_life: Duration) -> Request {
        Request {
            user: self.user.clone().unwrap_or_default(),
            role: self.role.clone(),
            claims: self.claims.clone(),
            ttl: TOKEN_LIFE.min(max_life),
        }
    }
}

impl Way {
    /// The address without its query, which may hold a token.
    pub fn shown(&self) -> &str {
        self.url.split('?').next().unwrap_or_default()
    }

    /// Signed anew each time where it is signed here, for this user unless the flags name one.
    pub fn token(&self, user: &str) -> Result<Option<String>, Failure> {
        match &self.pass {
            Pass::Anonymous => Ok(None),
            Pass::Given(token) => Ok(Some(token.clone())),
            Pass::Signed { minter, request } => {
                let mut request = request.clone();
                if request.user.is_empty() {
                    user.clone_into(&mut request.user);
                }
                Ok(Some(minter.sign(request, SystemTime::now())?))
            }
        }
    }

    pub async fn connect(&self, user: &str) -> Result<Socket, Failure> {
        let mut request = self.url.as_str().into_client_request().map_err(|error| {
            Failure::from(error).next("write it as wss://live.example.com/v1/ws")
        })?;
        if let Some(token) = self.token(user)? {
            request.headers_mut().insert("authorization", format!("Bearer {token}").parse()?);
        }
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
        let connecting = tokio_tungstenite::connect_async_with_config(request, Some(config), true);
        match Box::pin(connecting).await {
            Ok((socket, _)) => Ok(socket),
            Err(Error::Http(answer)) => Err(refusal(&answer)),
            Err(error) => Err(self.unreached(error)),
        }
    }

    fn unreached(&self, error: Error) -> Failure {
        let next = match &error {
            Error::Io(cause) if cause.kind() == ErrorKind::AddrNotAvailable => {
                "this machine has no port left for that address: widen net.ipv4.ip_local_port_range"
                    .to_owned()
            }
            Error::Io(cause) if is_certificate(cause) => {
                "the certificate is not one that this machine trusts; SSL_CERT_FILE names others"
                    .to_owned()
            }
            _ => format!("is the daemon running at {}?", self.shown()),
        };
        Failure::from(error).next(next)
    }
}

fn is_certificate(error: &std::io::Error) -> bool {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(tls, Some(rustls::Error::InvalidCertificate(_)))
}

/// An answer of HTTP instead of a WebSocket.
fn refusal(answer: &Response) -> Failure {
    let body = answer.body().as_deref().unwrap_or_default();
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let said = body["error"]["message"].as_str().unwrap_or_default();
    let status = answer.status();
    if status == 401 {
        return Failure::new(REFUSED)
            .next("its log says why; `rowcast token` signs one with the configured secret");
    }
    let colon = if said.is_empty() { "" } else { ": " };
    Failure::new(format!("the daemon refused the connection with {status}{colon}{said}"))
        .next(advice(status.as_u16(), said))
}

fn advice(status: u16, said: &str) -> &'static str {
    match status {
        429 if said.contains("attempts") => {
            "for a test, raise limits.connect_attempts_per_minute and reload"
        }
        429 if said.contains("address") => {
            "for a test, raise limits.connections_per_address and reload; if its log names a proxy, name that in server.trusted_proxies"
        }
        429 => {
            "for a test, raise limits.connections_per_user and reload, or give each its own user"
        }
        503 => "it is full: limits.connections, and LimitNOFILE of its unit",
        403 => "it came by no proxy that server.trusted_proxies names",
        _ => "clients connect to /v1/ws, and a proxy has to pass the upgrade on",
    }
}

pub const REFUSED: &str = "the daemon refused the token";

const TOKEN_LIFE: Duration = Duration::from_secs(12 * 60 * 60);

/// Room for some messages: there may be thousands of sockets, and each read clears it first.
const READ_BUFFER: usize = 4096;
