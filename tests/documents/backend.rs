//! The application's own backend: a page, its login, and the rows as they are.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rowcast::auth::{Minter, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OnceCell, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_postgres::Client;

pub struct Backend {
    address: SocketAddr,
    site: Arc<Site>,
    serving: AbortHandle,
}

struct Site {
    files: OnceCell<Vec<(&'static str, String)>>,
    minter: OnceCell<Minter>,
    client: Client,
    token_life: Duration,
    tokens: watch::Sender<u32>,
}

impl Backend {
    pub async fn start(client: Client, token_life: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (files, minter, tokens) = (OnceCell::new(), OnceCell::new(), watch::Sender::new(0));
        let site = Arc::new(Site { files, minter, client, token_life, tokens });
        let serving = tokio::spawn(serve(listener, Arc::clone(&site))).abort_handle();
        Self { address, site, serving }
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Opens the site, once the service is there whose tokens it signs.
    pub fn open(&self, minter: Minter, files: Vec<(&'static str, String)>) {
        assert!(self.site.minter.set(minter).is_ok() && self.site.files.set(files).is_ok());
    }

    /// Once so many tokens were asked for.
    pub async fn has_signed(&self, count: u32) {
        let mut tokens = self.site.tokens.subscribe();
        let waited = timeout(DEADLINE, tokens.wait_for(|signed| *signed >= count)).await;
        assert!(waited.is_ok(), "{} tokens, and not {count}", *self.site.tokens.borrow());
    }

    pub fn token(&self) -> String {
        self.site.token()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, site: Arc<Site>) {
    while let Ok((stream, _)) = listener.accept().await {
        let site = Arc::clone(&site);
        // A browser that goes away in between is none of our business.
        tokio::spawn(async move { site.answer(stream).await.ok() });
    }
}

impl Site {
    async fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let path = head.split(' ').nth(1).unwrap_or_default();
        let (kind, body) = self.find(path).await;
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\
             cache-control: no-store\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await
    }

    async fn find(&self, path: &str) -> (&'static str, String) {
        match path {
            "/token" => {
                self.tokens.send_modify(|signed| *signed += 1);
                ("application/json", format!("\"{}\"", self.token()))
            }
            "/orders" => {
                let row = self.client.query_one(ROWS, &[]).await.expect("the rows can be read");
                ("application/json", row.get(0))
            }
            path => {
                let files = self.files.get().into_iter().flatten();
                let text = files.clone().find(|(name, _)| *name == path).map(|(_, text)| text);
                let kind = if path.ends_with(".js") { "text/javascript" } else { "text/html" };
                (kind, text.cloned().unwrap_or_default())
            }
        }
    }

    fn token(&self) -> String {
        let request = Request {
            user: "ana".to_owned(),
            role: None,
            claims: Vec::new(),
            ttl: self.token_life,
        };
        let minter = self.minter.get().expect("the site is open");
        minter.sign(request, SystemTime::now()).expect("the claims can be signed")
    }
}

const ROWS: &str = "select coalesce(json_agg(o order by id), '[]')::text from orders o";

/// Far beyond what a loaded machine needs.
const DEADLINE: Duration = Duration::from_secs(60);
