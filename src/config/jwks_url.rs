//! Where an issuer's keys may be fetched from.
//!
//! In: text. Out: a [`JwksUrl`]. Invariant: what comes from there cannot be forged on the way: it is https, or it
//! never leaves this machine.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::Uri;

use super::setting::{Given, Setting, quoted};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwksUrl(Uri);

impl JwksUrl {
    pub const fn uri(&self) -> &Uri {
        &self.0
    }
}

impl FromStr for JwksUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|_| WANTED.to_owned())?;
        let authority = uri.authority().ok_or_else(|| WANTED.to_owned())?;
        if authority.as_str().contains('@') {
            return Err(LOGIN.to_owned());
        }
        match uri.scheme_str() {
            _ if authority.host().is_empty() => Err(WANTED.to_owned()),
            Some("https") => Ok(Self(uri)),
            Some("http") if is_loopback(authority.host()) => Ok(Self(uri)),
            Some("http") => Err(FORGEABLE.to_owned()),
            _ => Err(WANTED.to_owned()),
        }
    }
}

impl fmt::Display for JwksUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An address and no name: what a name means is somebody else's to say.
fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// An empty string says that there is none.
impl Setting for Option<JwksUrl> {
    fn set(&mut self, given: Given<'_>) -> Result<(), String> {
        let text = given.text()?;
        *self = if text.is_empty() { None } else { Some(text.parse()?) };
        Ok(())
    }

    fn show(&self) -> String {
        quoted(&self.as_ref().map(JwksUrl::to_string).unwrap_or_default())
    }
}

const WANTED: &str = "must be a URL such as https://issuer.example/.well-known/jwks.json";
const FORGEABLE: &str = "must be https: keys fetched over http could be forged on the way; \
     http is for an issuer on this machine, at 127.0.0.1 or [::1]";
const LOGIN: &str = "must hold no user and password: public keys need none";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_be_forged_on_the_way_is_a_place_for_keys() {
        let fault = |text: &str| text.parse::<JwksUrl>().err();
        for good in [
            "https://issuer.example/jwks.json",
            "https://10.0.0.7:8443/a?b=c",
            "http://127.0.0.1:8080/jwks",
            "http://127.8.9.1/",
            "http://[::1]:8080/jwks",
        ] {
            assert_eq!(fault(good), None, "{good}");
        }
        for forgeable in [
            "http://issuer.example/jwks.json",
            "http://10.0.0.7/",
            "http://localhost/",
            "http://127.0.0.1.example/",
            "http://[::2]/",
        ] {
            assert_eq!(fault(forgeable).as_deref(), Some(FORGEABLE), "{forgeable}");
        }
        for other in
            ["", "jwks.json", "/jwks", "issuer.example", "ftp://issuer.example/", "https://"]
        {
            assert_eq!(fault(other).as_deref(), Some(WANTED), "{other}");
        }
        for login in
            ["https://u:p@issuer.example/", "http://u@127.0.0.1/", "http://127.0.0.1@evil/"]
        {
            assert_eq!(fault(login).as_deref(), Some(LOGIN), "{login}");
        }
    }
}
