//! `[server]`: where clients connect and from which web pages.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;

use super::bounded::Count;
use super::setting::{Given, quoted};
use super::{Setting, Visitor};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    pub listen: SocketAddr,
    pub private_listen: Option<SocketAddr>,
    pub allowed_origins: Vec<String>,
    pub trusted_proxies: Vec<IpNet>,
    pub proxy_protocol: bool,
    pub shards: usize,
}

impl ServerConfig {
    pub(super) fn visit(&mut self, visitor: &mut impl Visitor) {
        visitor.section("server", "Where clients connect.");
        visitor.field("listen", LISTEN, &mut self.listen);
        visitor.field("private_listen", PRIVATE_LISTEN, &mut self.private_listen);
        visitor.field("allowed_origins", ALLOWED_ORIGINS, &mut self.allowed_origins);
        visitor.field("trusted_proxies", TRUSTED_PROXIES, &mut self.trusted_proxies);
        visitor.field("proxy_protocol", PROXY_PROTOCOL, &mut self.proxy_protocol);
        visitor.field("shards", SHARDS, &mut Count(&mut self.shards, 0..=256));
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4040),
            private_listen: None,
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            shards: 0,
        }
    }
}

const SHARDS: &str =
    "Among how many threads the clients' sockets are divided; 0: one for every two cores.";

/// Addresses, and networks as `10.0.0.0/8`.
impl Setting for Vec<IpNet> {
    fn set(&mut self, given: Given<'_>) -> Result<(), String> {
        let mut members: Vec<String> = Vec::new();
        members.set(given)?;
        *self = members.iter().map(|member| parse_network(member)).collect::<Result<_, _>>()?;
        Ok(())
    }

    fn show(&self) -> String {
        let members: Vec<String> = self.iter().map(show_network).collect();
        format!("[{}]", members.join(", "))
    }
}

/// `10.1.2.3/8` means the network that this address is in.
fn parse_network(text: &str) -> Result<IpNet, String> {
    let address = text.parse::<IpAddr>().map(IpNet::from).ok();
    let network = address.or_else(|| text.parse().ok());
    network.map(|network: IpNet| network.trunc()).ok_or_else(|| {
        format!("{text:?} is no address and no network: write 10.0.0.7, 10.0.0.0/8 or fd00::/8")
    })
}

fn show_network(network: &IpNet) -> String {
    let is_address = network.prefix_len() == network.max_prefix_len();
    let text = if is_address { network.addr().to_string() } else { network.to_string() };
    quoted(&text)
}

const LISTEN: &str = "Address and port.";
const PRIVATE_LISTEN: &str =
    "Health and readiness on an address of their own; empty: on the public port.";
const ALLOWED_ORIGINS: &str =
    "Web pages that may connect, such as \"https://app.example.com\", beside those of this server.";
const TRUSTED_PROXIES: &str = "Proxies, as addresses or networks such as \"10.0.0.0/8\", whose X-Forwarded-For counts; \
     they are not limited themselves.";
const PROXY_PROTOCOL: &str = "Whether those proxies begin each connection with a PROXY header; nobody else may connect then.";
