//! The schema `rowcast` as it is, beside the one this program was built with.
//!
//! In: a connection. Out: what differs. Invariant: the other side is the script that `migrate --print` shows, so a
//! function is compared with the very text that an upgrade would apply.

use std::sync::LazyLock;

use tokio_postgres::{Client, Row};

use crate::postgres::error::QueryError;
use crate::postgres::migrations::{MigrateError, check, render};

/// Whether program and schema belong together.
pub async fn installation(client: &Client) -> Result<(), MigrateError> {
    check(client).await
}

/// How a function in the database differs from that of this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    Missing,
    Body,
    /// It runs as the caller where it should run as the owner, or the reverse.
    Rights,
    /// Somebody else owns it.
    Owner,
}

pub async fn differences(client: &Client) -> Result<Vec<(&'static str, Difference)>, QueryError> {
    let found = super::rows(client, FUNCTIONS, &[]).await?;
    let found = found.iter().map(Found::read).collect::<Result<Vec<_>, _>>()?;
    let differs = |known: &Function| Some((known.name, difference(known, &found)?));
    Ok(functions().iter().filter_map(differs).collect())
}

fn difference(known: &Function, found: &[Found]) -> Option<Difference> {
    let found = found.iter().find(|found| found.name == known.name);
    let Some(found) = found else { return Some(Difference::Missing) };
    if found.body != known.body {
        return Some(Difference::Body);
    }
    if found.is_definer != known.is_definer {
        return Some(Difference::Rights);
    }
    (!found.is_ours).then_some(Difference::Owner)
}

struct Found {
    name: String,
    body: String,
    is_definer: bool,
    is_ours: bool,
}

impl Found {
    fn read(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            name: row.try_get(0)?,
            body: row.try_get(1)?,
            is_definer: row.try_get(2)?,
            is_ours: row.try_get(3)?,
        })
    }
}

/// A function of this program's schema.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub name: &'static str,
    pub body: &'static str,
    is_definer: bool,
}

pub(super) fn functions() -> Vec<Function> {
    static SCRIPT: LazyLock<String> = LazyLock::new(render);
    SCRIPT.split("\ncreate or replace function rowcast.").skip(1).filter_map(function).collect()
}

/// From behind the schema's name on.
fn function(text: &'static str) -> Option<Function> {
    let name = text.split('(').next()?;
    let (head, rest) = text.split_once("\nas $")?;
    let (tag, rest) = rest.split_once('$')?;
    let body = rest.split(&format!("${tag}$;")).next()?;
    Some(Function { name, body, is_definer: head.contains("security definer") })
}

const FUNCTIONS: &str = "\
select p.proname::text,
       p.prosrc,
       p.prosecdef,
       p.proowner = n.nspowner
  from pg_proc p
  join pg_namespace n on n.oid = p.pronamespace
 where n.nspname = 'rowcast'";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_function_of_the_script_is_found_once() {
        let functions = functions();
        let names: BTreeSet<_> = functions.iter().map(|function| function.name).collect();
        let script = render();
        let starts = |line: &&str| line.starts_with("create or replace function rowcast.");
        let count = script.lines().filter(starts).count();
        assert_eq!((names.len(), functions.len()), (count, count));
        let emit = functions.iter().find(|function| function.name == "emit").unwrap();
        assert!(emit.is_definer && emit.body.contains("insert into rowcast.event"));
    }
}
