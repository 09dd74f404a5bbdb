//! Whose word counts on where a request comes from.
//!
//! In: the address at the other end of a connection, and the headers of a request. Out: the client's address.
//! Invariant: an address is believed only from somebody who is trusted, however long the chain.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use http::HeaderMap;
use http::header::HeaderName;
use ipnet::IpNet;

/// The networks of `server.trusted_proxies`.
#[derive(Clone, Debug, Default)]
pub struct Proxies(Arc<[IpNet]>);

impl Proxies {
    pub fn new(networks: &[IpNet]) -> Self {
        Self(networks.into())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The right-most address of `X-Forwarded-For` that is no proxy's: what stands left of it, it may have made up.
    /// Where there is none, or something else stands in its place, it is the `peer` itself.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.trusts(peer) {
            return peer;
        }
        let lines: Vec<_> = headers.get_all(FORWARDED_FOR).into_iter().collect();
        for line in lines.into_iter().rev() {
            let Ok(line) = line.to_str() else { return peer };
            for item in line.rsplit(',').map(str::trim) {
                match parse_address(item) {
                    Some(address) if self.trusts(address) => {}
                    Some(address) => return address,
                    None => return peer,
                }
            }
        }
        peer
    }
}

/// What is counted as one client: an IPv4 address, or the network that a provider gives to one IPv6 customer.
pub fn one_client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        IpAddr::V4(address) => address.into(),
    }
}

/// Some proxies add the port.
fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok();
    address.or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[track_caller]
    fn client(peer: &str, lines: &[&str]) -> String {
        let networks = ["10.0.0.0/8", "192.0.2.1/32", "fd00::/8"];
        let proxies = Proxies::new(&networks.map(|network| network.parse().unwrap()));
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, http::HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        proxies.client(address(peer), &headers).to_string()
    }

    #[test]
    fn from_anybody_else_the_header_changes_nothing() {
        assert_eq!(client("203.0.113.5", &["198.51.100.7"]), "203.0.113.5");
        assert_eq!(client("203.0.113.5", &["10.0.0.1, 10.0.0.2"]), "203.0.113.5");
    }

    #[test]
    fn of_a_chain_the_last_address_that_is_no_proxy_counts() {
        assert_eq!(client("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(client("10.0.0.1", &["198.51.100.7, 10.2.0.1, 192.0.2.1"]), "198.51.100.7");
        let made_up = ["1.1.1.1, 2.2.2.2", "198.51.100.7,10.2.0.1"];
        assert_eq!(client("10.0.0.1", &made_up), "198.51.100.7", "what stands left is made up");
        assert_eq!(client("10.0.0.1", &["198.51.100.7", "10.2.0.1"]), "198.51.100.7");
        assert_eq!(client("::ffff:10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(client("fd00::1", &["2001:db8::5"]), "2001:db8::5");
    }

    #[test]
    fn ports_and_brackets_belong_to_no_address() {
        assert_eq!(client("10.0.0.1", &["198.51.100.7:5050"]), "198.51.100.7");
        assert_eq!(client("10.0.0.1", &["[2001:db8::5]:5050"]), "2001:db8::5");
        assert_eq!(client("10.0.0.1", &["[2001:db8::5]"]), "2001:db8::5");
    }

    #[test]
    fn what_is_no_address_makes_it_the_proxy_itself() {
        for odd in ["", "unknown", "198.51.100.7, ", "198.51.100.7, _hidden", "é", "10.0.0.2"] {
            assert_eq!(client("10.0.0.1", &[odd]), "10.0.0.1", "{odd}");
        }
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(
            client("10.0.0.1", &["nonsense, 198.51.100.7"]),
            "198.51.100.7",
            "not looked at"
        );
    }

    #[test]
    fn one_customer_is_one_client_however_many_addresses_they_have() {
        let one = |text| one_client(address(text)).to_string();
        assert_eq!(one("2001:db8:1:2:3:4:5:6"), one("2001:db8:1:2::1"));
        assert_ne!(one("2001:db8:1:2::1"), one("2001:db8:1:3::1"));
        assert_eq!(one("::ffff:198.51.100.7"), "198.51.100.7");
        assert_ne!(one("198.51.100.7"), one("198.51.100.8"));
    }
}
