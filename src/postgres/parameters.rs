//! Connection strings in both forms of libpq, as parameters.
//!
//! In: `postgres://user@host,host/database?sslmode=…` or `host=… dbname=…`. Out: names and values, unjudged.
//! Invariant: no error shows a value, since any of them may be a password.

use std::borrow::Cow;
use std::iter::Peekable;
use std::str::Chars;

use percent_encoding::percent_decode_str;

/// The parameters in the order of the text; a later one of the same name wins, as in libpq.
pub(super) fn parameters(text: &str) -> Result<Vec<(String, String)>, SyntaxError> {
    let url = ["postgres://", "postgresql://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    url.map_or_else(|| keyword_form(text), url_form)
}

fn url_form(rest: &str) -> Result<Vec<(String, String)>, SyntaxError> {
    let mut found = Vec::new();
    let rest = match split_login(rest) {
        Some((login, rest)) => {
            read_login(login, &mut found)?;
            rest
        }
        None => rest,
    };
    let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    read_hosts(authority, &mut found)?;
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let database = path.strip_prefix('/').unwrap_or_default();
    if !database.is_empty() {
        found.push(("dbname".into(), decoded(database, "the database name")?));
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or(SyntaxError::NoValue)?;
        found.push((name.into(), decoded(value, name)?));
    }
    Ok(found)
}

/// A raw `@` or `?` may stand in a password, a `/` may not.
fn split_login(rest: &str) -> Option<(&str, &str)> {
    let authority = &rest[..rest.find('/').unwrap_or(rest.len())];
    let at = authority.find('@')?;
    Some((&rest[..at], &rest[at + 1..]))
}

fn read_login(login: &str, found: &mut Vec<(String, String)>) -> Result<(), SyntaxError> {
    let (user, password) = login.split_once(':').map_or((login, None), |(u, p)| (u, Some(p)));
    if !user.is_empty() {
        found.push(("user".into(), decoded(user, "the user")?));
    }
    if let Some(password) = password.filter(|password| !password.is_empty()) {
        found.push(("password".into(), decoded(password, "the password")?));
    }
    Ok(())
}

fn read_hosts(authority: &str, found: &mut Vec<(String, String)>) -> Result<(), SyntaxError> {
    if authority.is_empty() {
        return Ok(());
    }
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for one in authority.split(',') {
        let (host, port) = split_port(one)?;
        hosts.push(decoded(host, "a host")?);
        ports.push(decoded(port, "a port")?);
    }
    if hosts.iter().any(|host| !host.is_empty()) {
        found.push(("host".into(), hosts.join(",")));
    }
    if ports.iter().any(|port| !port.is_empty()) {
        found.push(("port".into(), ports.join(",")));
    }
    Ok(())
}

fn split_port(host: &str) -> Result<(&str, &str), SyntaxError> {
    let Some(rest) = host.strip_prefix('[') else {
        return Ok(host.split_once(':').unwrap_or((host, "")));
    };
    let (address, rest) = rest.split_once(']').ok_or(SyntaxError::Bracket)?;
    match rest.strip_prefix(':') {
        Some(port) => Ok((address, port)),
        None if rest.is_empty() => Ok((address, "")),
        None => Err(SyntaxError::Bracket),
    }
}

fn decoded(text: &str, what: &str) -> Result<String, SyntaxError> {
    let text = percent_decode_str(text).decode_utf8().map(Cow::into_owned);
    text.map_err(|_| SyntaxError::Encoding(what.into()))
}

fn keyword_form(text: &str) -> Result<Vec<(String, String)>, SyntaxError> {
    let mut found = Vec::new();
    let mut rest = text.chars().peekable();
    loop {
        skip_space(&mut rest);
        if rest.peek().is_none() {
            return Ok(found);
        }
        let mut name = String::new();
        while let Some(c) = rest.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
            name.push(c);
        }
        if name.is_empty() {
            return Err(SyntaxError::NoForm);
        }
        skip_space(&mut rest);
        rest.next_if_eq(&'=').ok_or(SyntaxError::NoForm)?;
        skip_space(&mut rest);
        let value = read_value(&mut rest, &name)?;
        found.push((name, value));
    }
}

/// As in libpq: quotes hold spaces, a backslash takes the next character as it is.
fn read_value(rest: &mut Peekable<Chars<'_>>, name: &str) -> Result<String, SyntaxError> {
    let quoted = rest.next_if_eq(&'\'').is_some();
    let mut value = String::new();
    loop {
        match rest.peek() {
            None if quoted => return Err(SyntaxError::Quote(name.into())),
            None => return Ok(value),
            Some('\'') if quoted => {
                rest.next();
                return Ok(value);
            }
            Some(c) if !quoted && c.is_whitespace() => return Ok(value),
            Some(_) => match rest.next() {
                Some('\\') => value.extend(rest.next()),
                other => value.extend(other),
            },
        }
    }
}

fn skip_space(rest: &mut Peekable<Chars<'_>>) {
    while rest.next_if(|c| c.is_whitespace()).is_some() {}
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    #[error("write it as postgres://user@host:5432/database or as host=… user=… dbname=…")]
    NoForm,
    #[error("behind the question mark, each parameter is written name=value")]
    NoValue,
    #[error("{0} is no UTF-8 once its %-codes are read")]
    Encoding(String),
    #[error("an IPv6 address is written [::1] or [::1]:5432")]
    Bracket,
    #[error("the quoted value of {0:?} does not end")]
    Quote(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(text: &str) -> String {
        let pairs = parameters(text).unwrap();
        pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn urls_are_read_as_libpq_reads_them() {
        for (url, read) in [
            ("postgres://", ""),
            ("postgresql://localhost", "host=localhost"),
            ("postgres:///app", "dbname=app"),
            (
                "postgres://me:a%20b@db:6000/app",
                "user=me password=a b host=db port=6000 dbname=app",
            ),
            ("postgres://me:p?w@db/app", "user=me password=p?w host=db dbname=app"),
            ("postgres://a,b:6001/app", "host=a,b port=,6001 dbname=app"),
            ("postgres://[::1]:6000,[::2]/app", "host=::1,::2 port=6000, dbname=app"),
            ("postgres://%2Ftmp%2Fpg/app", "host=/tmp/pg dbname=app"),
            ("postgres:///app?host=/tmp&port=6000", "dbname=app host=/tmp port=6000"),
            (
                "postgres://db/app?sslmode=verify-full&user=a@b",
                "host=db dbname=app sslmode=verify-full user=a@b",
            ),
        ] {
            assert_eq!(flat(url), read, "{url}");
        }
    }

    #[test]
    fn keyword_strings_are_read_as_libpq_reads_them() {
        for (text, read) in [
            ("", ""),
            (" host = db  dbname=app ", "host=db dbname=app"),
            (r"password='it\'s a \\' user=me", r"password=it's a \ user=me"),
            (r"password=a\ b user=''", "password=a b user="),
        ] {
            assert_eq!(flat(text), read, "{text}");
        }
    }

    #[test]
    fn what_is_neither_is_refused_without_a_word_of_its_values() {
        for text in [
            "hunter2",
            "host",
            "password='hunter2",
            "postgres://a:%ffhunter2@b/c",
            "postgres://[::1",
            "postgres://[::1]hunter2",
            "= hunter2",
            "mysql://a:hunter2@b/c?d=e",
        ] {
            let error = parameters(text).map(|_| ()).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
