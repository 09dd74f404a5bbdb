//! Where the PostgreSQL server's programs are on this machine.
//!
//! In: a folder someone named, or nothing. Out: the folder of `initdb`, `pg_ctl` and `postgres`, and their version.
//! Invariant: a folder that was named is taken or refused; no other is taken in its place.

use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Clone, Debug)]
pub struct ServerBinaries {
    folder: PathBuf,
    /// The major version.
    pub version: u32,
}

impl ServerBinaries {
    /// The named folder; else the newest that a package installed; else the one on the `PATH`.
    pub fn find(named: Option<&Path>) -> Result<Self, BinariesError> {
        if let Some(folder) = named {
            return Self::at(folder).ok_or_else(|| BinariesError::NotThere(folder.to_owned()));
        }
        let packaged = packaged_folders().filter_map(|folder| Self::at(&folder));
        packaged
            .max_by_key(|found| found.version)
            .or_else(|| path_folders().find_map(|folder| Self::at(&folder)))
            .ok_or(BinariesError::Nowhere)
    }

    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn at(folder: &Path) -> Option<Self> {
        let complete = ["initdb", "pg_ctl"].iter().all(|name| folder.join(name).is_file());
        let version = if complete { version_of(&folder.join("postgres"))? } else { return None };
        Some(Self { folder: folder.to_owned(), version })
    }
}

/// Debian, Ubuntu and openSUSE; the packages of postgresql.org for Red Hat; Homebrew.
fn packaged_folders() -> impl Iterator<Item = PathBuf> {
    let versions = |parent: &str, prefix: &'static str| {
        std::fs::read_dir(parent)
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
            .filter(move |entry| {
                entry.file_name().to_str().is_some_and(|name| {
                    name.strip_prefix(prefix).is_some_and(|rest| rest.parse::<u32>().is_ok())
                })
            })
            .map(|entry| entry.path().join("bin"))
    };
    versions("/usr/lib/postgresql", "")
        .chain(versions("/usr", "pgsql-"))
        .chain(versions("/opt/homebrew/opt", "postgresql@"))
}

fn path_folders() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).collect::<Vec<_>>().into_iter()
}

/// `postgres (PostgreSQL) 15.18 (Debian …)`, `18beta1`.
fn version_of(postgres: &Path) -> Option<u32> {
    let output = Command::new(postgres).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let number = text.split_once("(PostgreSQL) ")?.1;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[derive(Debug, thiserror::Error)]
pub enum BinariesError {
    #[error("{} has no initdb, pg_ctl and postgres that run here", .0.display())]
    NotThere(PathBuf),
    #[error(
        "no PostgreSQL server is installed: install the package postgresql (Debian, Ubuntu), \
         postgresql-server (Fedora, openSUSE) or postgresql (Arch, Homebrew)"
    )]
    Nowhere,
}
