//! A value that is used and never printed.
//!
//! In: a password, a key, a URL with a password in it. Out: the same, by [`Secret::expose`] only.
//! Invariant: `Debug` shows a mask, and there is no `Display`, so a log line cannot hold it by accident.

use std::fmt;

#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// The URL with its password hidden, and hidden whole where a password could stand elsewhere in it.
pub(super) fn mask_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return MASK.to_owned() };
    if rest.to_ascii_lowercase().contains("password") || rest.matches('@').count() > 1 {
        return MASK.to_owned();
    }
    match rest.split_once('@') {
        Some((login, host)) => {
            let user = login.split(':').next().unwrap_or_default();
            let password = if login.contains(':') { format!(":{MASK}") } else { String::new() };
            format!("{scheme}://{user}{password}@{host}")
        }
        None => url.to_owned(),
    }
}

pub(super) const MASK: &str = "********";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show_in_debug_output() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), MASK);
    }

    #[test]
    fn a_url_is_shown_without_its_password() {
        for (url, shown) in [
            ("postgres://rowcast@localhost/app", "postgres://rowcast@localhost/app"),
            (
                "postgres://localhost/app?sslmode=require",
                "postgres://localhost/app?sslmode=require",
            ),
            ("postgres://a:hunter2@b,c:5433/app", "postgres://a:********@b,c:5433/app"),
            ("postgres://a:hunter@2@b/app", MASK),
            ("postgres://a@b/app?password=hunter2", MASK),
            ("host=b password=hunter2", MASK),
        ] {
            assert_eq!(mask_url(url), shown);
        }
    }
}
