//! What an error of PostgreSQL means for whoever has to act on it.
//!
//! In: errors of tokio-postgres. Out: a kind to decide by, and words with what to do next. Invariant: decisions go
//! by SQLSTATE and type, never by the text of a message, which is in the server's language.

use std::error::Error as StdError;
use std::io;

use tokio_postgres::Error;

/// What trying again would bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The same may well work a moment later.
    Transient,
    /// Someone has to grant something or mend a credential.
    Denied,
    /// Someone has to install or configure something.
    Misconfigured,
    /// Nothing outside this program mends it.
    Bug,
}

/// An error of a statement, told with the server's own words.
#[derive(Debug, thiserror::Error)]
#[error("{}", explain(.0))]
pub struct QueryError(pub Error);

impl From<Error> for QueryError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

pub fn kind(error: &Error) -> Kind {
    let Some(code) = error.code() else {
        return if tls_failure(error).is_some() { Kind::Misconfigured } else { Kind::Transient };
    };
    let code = code.code();
    match (&code[..2], code) {
        // Wrong password, no right, a read-only role or standby.
        ("28", _) | (_, "42501" | "25006") => Kind::Denied,
        // No such database or schema, no such table or function: not installed here, or half. RC are the refusals
        // of our own functions.
        ("3D" | "3F" | "RC", _) | (_, "42P01" | "42883" | "42703") => Kind::Misconfigured,
        // Connection, transaction rollback, resources, locks, operator's intervention, disk.
        ("08" | "40" | "53" | "55" | "57" | "58", _) => Kind::Transient,
        _ => Kind::Bug,
    }
}

/// One line: what happened, and the server's hint or ours.
pub fn explain(error: &Error) -> String {
    let Some(server) = error.as_db_error() else { return explain_client_side(error) };
    let mut words = server.message().to_owned();
    if let Some(detail) = server.detail() {
        words = format!("{words} ({detail})");
    }
    match server.hint().or_else(|| advice(server.code().code())) {
        Some(hint) => format!("{words}: {hint}"),
        None => words,
    }
}

fn explain_client_side(error: &Error) -> String {
    if let Some(failure) = tls_failure(error) {
        return format!("{failure}: {}", tls_advice(failure));
    }
    let words = causes(error).last().map_or_else(|| error.to_string(), ToString::to_string);
    match find::<io::Error>(error).map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {
            format!("{words}: is the server running, and are host and port right?")
        }
        Some(io::ErrorKind::PermissionDenied) => {
            format!("{words}: this user may not open the server's socket")
        }
        _ => words,
    }
}

fn advice(code: &str) -> Option<&'static str> {
    Some(match code {
        "28P01" => "check the user and the password of the connection string",
        "28000" => {
            "the role must exist and may log in, and pg_hba.conf must let it in from here, with this sslmode"
        }
        "3D000" => "create the database, or correct the name in the connection string",
        "42501" => "grant the right, or connect as a role that has it",
        "3F000" | "42883" => {
            "if rowcast is not installed in this database yet, run: rowcast migrate"
        }
        "42P01" => {
            "check the name, and write schema.table where the schema is not on the search path"
        }

        "25006" => "connect to the primary",
        "53300" => "raise max_connections, or lower database.pool_size",
        "55P03" => {
            "something holds a lock on the table; try again, or look in pg_stat_activity for a long transaction"
        }
        "57P03" => "the server is starting or stopping; try again in a moment",
        "57014" => "it took longer than statement_timeout allows",
        _ => return None,
    })
}

fn tls_advice(failure: &rustls::Error) -> &'static str {
    use rustls::CertificateError::{
        BadSignature, NotValidForName, NotValidForNameContext, UnknownIssuer,
    };
    match failure {
        // A bad signature is what another authority of the same name leaves.
        rustls::Error::InvalidCertificate(UnknownIssuer | BadSignature) => {
            "sslrootcert must name the certificate authority that signed the server's certificate"
        }
        rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => {
            "connect by a name that the certificate carries as subjectAltName, or use sslmode=verify-ca"
        }
        rustls::Error::InvalidCertificate(_) => "the server needs another certificate",
        _ => "client and server found no common way to encrypt",
    }
}

/// The TLS library's own error, which travels inside an I/O error.
pub(super) fn tls_failure(error: &Error) -> Option<&rustls::Error> {
    find::<io::Error>(error)?.get_ref()?.downcast_ref()
}

fn find<T: StdError + 'static>(error: &Error) -> Option<&T> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

fn causes(error: &Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(error.source(), |cause: &&(dyn StdError + 'static)| (*cause).source())
}
