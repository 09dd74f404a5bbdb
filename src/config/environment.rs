//! The environment variables that configure the daemon, as a value.
//!
//! In: the process's environment, or pairs. Out: look-ups by name. Invariant: read once, so that a
//! configuration is a function of what went in.

use std::collections::BTreeMap;
use std::path::Path;

#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Bytes that are no UTF-8 become replacement characters, which [`Self::is_broken`] finds.
    pub fn of_process() -> Self {
        std::env::vars_os()
            .map(|(name, value)| {
                (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
            })
            .collect()
    }

    /// An empty variable counts as absent: that is how compose files and units leave one out.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether the value was no UTF-8.
    pub(super) fn is_broken(value: &str) -> bool {
        value.contains(char::REPLACEMENT_CHARACTER)
    }

    /// The variable that stands for a key, its name and value.
    pub(super) fn of_key(&self, key: &str) -> Option<(String, &str)> {
        let name = variable(key);
        let own = self.value(&name);
        match (own, key) {
            (Some(value), _) => Some((name, value)),
            (None, "database.url") => {
                self.value("DATABASE_URL").map(|value| ("DATABASE_URL".to_owned(), value))
            }
            (None, _) => None,
        }
    }

    /// Variables that look like keys, as `(variable, key)`.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&str, String)> {
        self.0.keys().filter_map(|name| {
            let path = name.strip_prefix(PREFIX)?;
            Some((name.as_str(), path.to_ascii_lowercase().replace("__", ".")))
        })
    }

    /// Where systemd puts the files of `LoadCredential=`.
    pub(super) fn credentials(&self) -> Option<&Path> {
        self.value("CREDENTIALS_DIRECTORY").map(Path::new)
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// The values may be secrets.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_ascii_uppercase().replace('.', "__"))
}

const PREFIX: &str = "ROWCAST__";
