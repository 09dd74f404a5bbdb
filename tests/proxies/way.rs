//! A way for a client to a proxy: over TLS, from an address of its own.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::StreamExt;
use hyper::service::Service;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message, http};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::front::Front;

type Line = TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>;
pub type Socket = WebSocketStream<Line>;
pub type Refusal = http::Response<Option<Vec<u8>>>;

pub struct Way<'a> {
    front: &'a Front,
    source: IpAddr,
    path: String,
    headers: Vec<(String, String)>,
}

impl<'a> Way<'a> {
    /// All of 127.0.0.0/8 is this machine.
    pub fn to(front: &'a Front, source: &str) -> Self {
        let source = source.parse().unwrap();
        Self { front, source, path: "/v1/ws".to_owned(), headers: Vec::new() }
    }

    pub fn at(self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self }
    }

    pub fn with(mut self, header: &str, value: &str) -> Self {
        self.headers.push((header.to_owned(), value.to_owned()));
        self
    }

    pub async fn admitted(&self) -> Socket {
        match self.open().await {
            Ok(socket) => socket,
            Err(refusal) => panic!("{refusal:?}"),
        }
    }

    pub async fn refused(&self) -> Refusal {
        match self.open().await {
            Ok(_) => panic!("let in"),
            Err(refusal) => refusal,
        }
    }

    /// Status and body of what is answered to a plain request; the path goes out as it is.
    pub async fn request(&self, method: &str, path: &str) -> (u16, String) {
        let mut line = self.line().await;
        let headers = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: 0\r\n{}\r\n",
            self.front.host(),
            headers.collect::<String>()
        );
        line.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // The end may lack a farewell of TLS.
        let _ = timeout(DEADLINE, line.read_to_end(&mut answer)).await.expect("an end in time");
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    async fn open(&self) -> Result<Socket, Refusal> {
        let url = format!("wss://{}{}", self.front.host(), self.path);
        let mut request = url.into_client_request().unwrap();
        for (name, value) in &self.headers {
            let name: http::HeaderName = name.parse().unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        match timeout(DEADLINE, client_async(request, self.line().await)).await.expect("in time") {
            Ok((socket, _)) => Ok(socket),
            Err(Error::Http(refusal)) => Err(*refusal),
            Err(error) => panic!("{error}"),
        }
    }

    async fn line(&self) -> Line {
        let mut tcp = HttpConnector::new();
        tcp.set_local_address(Some(self.source));
        tcp.enforce_http(false);
        let tls = HttpsConnectorBuilder::new().with_tls_config(self.front.trust());
        let connector: HttpsConnector<HttpConnector> =
            tls.https_only().enable_http1().wrap_connector(tcp);
        let url = format!("https://{}/", self.front.host()).parse().unwrap();
        TokioIo::new(TowerToHyperService::new(connector).call(url).await.unwrap())
    }
}

/// The next message of the daemon.
pub async fn next(socket: &mut Socket) -> Value {
    loop {
        match timeout(DEADLINE, socket.next()).await.expect("a message in time") {
            Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            other => panic!("no message but {other:?}"),
        }
    }
}

/// Nothing but pings, which are answered on the way.
pub async fn is_quiet_for(socket: &mut Socket, time: Duration) {
    let heard = async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Ping(_))) => {}
                other => return other,
            }
        }
    };
    if let Ok(other) = timeout(time, heard).await {
        panic!("{other:?}");
    }
}

/// Far above anything that happens when it works.
const DEADLINE: Duration = Duration::from_secs(30);
