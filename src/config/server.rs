//! `[server]`: where clients connect and from which web pages.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::Visitor;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    pub listen: SocketAddr,
    pub private_listen: Option<SocketAddr>,
    pub allowed_origins: Vec<String>,
    pub trusted_proxies: Vec<String>,
}

impl ServerConfig {
    pub(super) fn visit(&mut self, visitor: &mut impl Visitor) {
        visitor.section("server", "Where clients connect.");
        visitor.field("listen", LISTEN, &mut self.listen);
        visitor.field("private_listen", PRIVATE_LISTEN, &mut self.private_listen);
        visitor.field("allowed_origins", ALLOWED_ORIGINS, &mut self.allowed_origins);
        visitor.field("trusted_proxies", TRUSTED_PROXIES, &mut self.trusted_proxies);
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4040),
            private_listen: None,
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
        }
    }
}

const LISTEN: &str = "Address and port.";
const PRIVATE_LISTEN: &str =
    "Health and readiness on an address of their own; empty: on the public port.";
const ALLOWED_ORIGINS: &str =
    "Web pages that may connect, such as \"https://app.example.com\", beside those of this server.";
const TRUSTED_PROXIES: &str = "Addresses of proxies whose X-Forwarded-For counts.";
