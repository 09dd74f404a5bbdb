//! The kinds of values a key can have: how each is read and shown.
//!
//! In: a [`Given`] value of the file, the environment or the command line. Out: the typed value, or a
//! sentence that says what the key wants. Invariant: a value that was refused changes nothing, and the
//! sentence does not repeat what was given, since it may be a secret.

use std::net::SocketAddr;

use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};
use toml::de::DeValue;

use super::secret::{Secret, mask_url};

/// A place in the configuration that a key fills.
pub trait Setting {
    fn set(&mut self, given: Given<'_>) -> Result<(), String>;
    /// As TOML, secrets masked.
    fn show(&self) -> String;
}

/// What somebody wrote: a TOML value, or the bare text of a variable or flag.
#[derive(Clone, Copy)]
pub enum Given<'a> {
    Toml(&'a DeValue<'a>),
    Text(&'a str),
}

impl<'a> Given<'a> {
    pub fn text(self) -> Result<&'a str, String> {
        match self {
            Self::Toml(value) => value.as_str().ok_or_else(|| wants("a string in quotes", value)),
            Self::Text(text) => Ok(text),
        }
    }

    pub fn integer(self) -> Result<i128, String> {
        match self {
            Self::Toml(value) => value
                .as_integer()
                .and_then(|number| i128::from_str_radix(number.as_str(), number.radix()).ok())
                .ok_or_else(|| wants("a whole number", value)),
            Self::Text(text) => text.parse().map_err(|_| "must be a whole number".to_owned()),
        }
    }

    fn boolean(self) -> Result<bool, String> {
        match self {
            Self::Toml(value) => value.as_bool().ok_or_else(|| wants("true or false", value)),
            Self::Text(text) => text.parse().map_err(|_| "must be true or false".to_owned()),
        }
    }

    /// A variable holds a list as TOML writes it, or its members joined by commas.
    fn list(self) -> Result<Vec<String>, String> {
        match self {
            Self::Toml(value) => strings_of(value),
            Self::Text(text) if text.trim_start().starts_with('[') => {
                let value = DeValue::parse(text).map_err(|error| error.message().to_owned())?;
                strings_of(value.get_ref())
            }
            Self::Text(text) => {
                let members = text.split(',').map(str::trim).filter(|member| !member.is_empty());
                Ok(members.map(str::to_owned).collect())
            }
        }
    }
}

fn strings_of(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let wanted = || wants("a list of strings, as in [\"a\", \"b\"]", value);
    let members = value.as_array().ok_or_else(wanted)?;
    let member = |member: &toml::Spanned<DeValue<'_>>| {
        member.get_ref().as_str().map(str::to_owned).ok_or_else(wanted)
    };
    members.iter().map(member).collect()
}

fn wants(what: &str, value: &DeValue<'_>) -> String {
    format!("must be {what}, not of type {}", value.type_str())
}

impl Setting for String {
    fn set(&mut self, given: Given<'_>) -> Result<(), String> {
        given.text()?.clone_into(self);
        Ok(())
    }

    fn show(&self) -> String {
        quoted(self)
    }
}

/// An empty string says that there is none.
impl Setting for Option<String> {
    fn set(&mut self, given: Given<'_>) -> Result<(), String> {
        *self = Some(given.text()?).filter(|text| !text.is_empty()).map(str::to_owned);
        Ok(())
    }

    fn show(&self) -> String {
        quoted(self.as_deref().unwrap_or_default())
    }
}

impl Setting for bool {
    fn set(&mut self, given: Given<'_>) -> Result<(), String> {
        *self = given.boolean()?;
        Ok(())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for Vec<String> {
    fn set(&mut self, given: Given<'_>) -> Result<(), String> {
        *self = given.list()?;
        Ok(())
    }

    fn show(&self) -> String {
        let members: Vec<String> = self.iter().map(|member| quoted(member)).collect();
        format!("[{}]", members.join(", "))
    }
}

impl Setting for SocketAddr {
    fn set(&mut self, given: Given<'_>) -> Result<(), String> {
        *self = parse_address(given.text()?)?;
        Ok(())
    }

    fn show(&self) -> String {
        quoted(&self.to_string())
    }
}

impl Setting for Option<SocketAddr> {
    fn set(&mut self, given: Given<'_>) -> Result<(), String> {
        let text = given.text()?;
        *self = if text.is_empty() { None } else { Some(parse_address(text)?) };
        Ok(())
    }

    fn show(&self) -> String {
        quoted(&self.map(|address| address.to_string()).unwrap_or_default())
    }
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let wanted = "must be an address and a port, such as 127.0.0.1:4040 or [::]:4040";
    text.parse().map_err(|_| wanted.to_owned())
}

/// A connection string of PostgreSQL.
impl Setting for Secret<String> {
    fn set(&mut self, given: Given<'_>) -> Result<(), String> {
        *self = Self::new(parse_database_url(given.text()?)?);
        Ok(())
    }

    fn show(&self) -> String {
        quoted(&mask_url(self.expose()))
    }
}

impl Setting for Option<Secret<String>> {
    fn set(&mut self, given: Given<'_>) -> Result<(), String> {
        let text = given.text()?;
        *self = if text.is_empty() { None } else { Some(Secret::new(parse_database_url(text)?)) };
        Ok(())
    }

    fn show(&self) -> String {
        quoted(&self.as_ref().map(|url| mask_url(url.expose())).unwrap_or_default())
    }
}

pub(super) fn parse_database_url(text: &str) -> Result<String, String> {
    let url = text.starts_with("postgres://") || text.starts_with("postgresql://");
    if url || text.contains('=') {
        return Ok(text.to_owned());
    }
    Err("must be a PostgreSQL connection string, such as postgres://user@host/database".to_owned())
}

impl Setting for Vec<Algorithm> {
    fn set(&mut self, given: Given<'_>) -> Result<(), String> {
        let names = given.list()?;
        if names.is_empty() {
            return Err("must name at least one algorithm, such as [\"HS256\"]".to_owned());
        }
        *self = names.iter().map(|name| parse_algorithm(name)).collect::<Result<_, _>>()?;
        Ok(())
    }

    fn show(&self) -> String {
        let names: Vec<String> = self.iter().map(|name| quoted(&format!("{name:?}"))).collect();
        format!("[{}]", names.join(", "))
    }
}

fn parse_algorithm(name: &str) -> Result<Algorithm, String> {
    name.parse().map_err(|_| {
        format!(
            "{name:?} is no algorithm; known are HS256, HS384, HS512, RS256, RS384, RS512, PS256, \
             PS384, PS512, ES256, ES384 and EdDSA"
        )
    })
}

/// The `when` of a policy: a table of claims and the values that match.
impl Setting for Map<String, Value> {
    fn set(&mut self, given: Given<'_>) -> Result<(), String> {
        let wanted = "must be a table, such as { role = [\"staff\", \"admin\"] }";
        let Given::Toml(DeValue::Table(table)) = given else { return Err(wanted.to_owned()) };
        *self = table
            .iter()
            .map(|(key, value)| Ok((key.get_ref().to_string(), json_of(value.get_ref())?)))
            .collect::<Result<_, String>>()?;
        Ok(())
    }

    fn show(&self) -> String {
        let entry = |(key, value): (&String, &Value)| format!("{} = {value}", bare_or_quoted(key));
        let entries: Vec<String> = self.iter().map(entry).collect();
        if entries.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", entries.join(", ")) }
    }
}

fn json_of(value: &DeValue<'_>) -> Result<Value, String> {
    let integer = |number: &toml::de::DeInteger<'_>| {
        i64::from_str_radix(number.as_str(), number.radix()).map(Value::from)
    };
    match value {
        DeValue::String(text) => Ok(Value::from(text.as_ref())),
        DeValue::Boolean(truth) => Ok(Value::from(*truth)),
        DeValue::Integer(number) => {
            integer(number).map_err(|_| "holds a number that is out of range".to_owned())
        }
        DeValue::Array(members) => members.iter().map(|member| json_of(member.get_ref())).collect(),
        other => {
            Err(wants("made of strings, whole numbers, true or false, or lists of them", other))
        }
    }
}

fn bare_or_quoted(key: &str) -> String {
    let bare = key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    if bare && !key.is_empty() { key.to_owned() } else { quoted(key) }
}

pub(super) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
