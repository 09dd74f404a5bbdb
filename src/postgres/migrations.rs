//! The schema `rowcast`: installing it, upgrading it, removing it.
//!
//! In: the files of `sql/`, embedded. Out: a database whose schema is the one this program was built with.
//! Invariant: psql with `sql/install.sql` and this module do the same; an older program never touches a newer schema.

use std::fmt::Write as _;
use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use include_dir::{Dir, include_dir};
use tokio_postgres::{Client, Error, Transaction};

use super::error::explain;

/// What [`migrate`] found and what it left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// `None` where nothing was installed.
    pub from: Option<i32>,
    pub to: i32,
}

/// A file of `sql/migrations`.
#[derive(Clone, Debug)]
pub struct Migration {
    pub version: i32,
    /// The file's name without its ending.
    pub name: &'static str,
    pub checksum: String,
    sql: &'static str,
}

/// Installs the schema or brings it up to date: the missing migrations, then all functions, then the grants.
pub async fn migrate(client: &mut Client) -> Result<Migrated, MigrateError> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(BEGIN).await?;
    let applied = applied(&transaction).await?;
    judge(&applied)?;
    for migration in &MIGRATIONS[applied.len()..] {
        apply(&transaction, migration).await?;
    }
    for path in functions().chain(["grants.sql"]) {
        run(&transaction, path).await?;
    }
    transaction.commit().await?;
    Ok(Migrated { from: applied.last().map(|last| last.version), to: latest() })
}

/// Whether this program and the database's schema belong together. Asks only, so the daemon's role will do.
pub async fn check(client: &Client) -> Result<(), MigrateError> {
    let rows = client.query(MIGRATION_TABLE, &[]).await?;
    if rows.is_empty() {
        return Err(MigrateError::NotInstalled);
    }
    let applied = read(&client.query(APPLIED, &[]).await?)?;
    judge(&applied)?;
    match applied.len() {
        found if found < MIGRATIONS.len() => Err(MigrateError::Behind { needed: latest() }),
        _ => Ok(()),
    }
}

/// Removes every trigger of rowcast, the schema with all that is in it, and the role where no other database needs it.
pub async fn uninstall(client: &mut Client) -> Result<(), MigrateError> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(BEGIN).await?;
    run(&transaction, UNINSTALL).await?;
    Ok(transaction.commit().await?)
}

/// `sql/install.sql` with its includes in their places: what psql runs as it is.
pub fn render() -> String {
    file(INSTALL).lines().fold(String::new(), |mut script, line| {
        let text = included(line).map_or(line, file);
        // Writing to a string cannot fail.
        let _ = writeln!(script, "{}", text.trim_end());
        script
    })
}

/// `sql/uninstall.sql` as one transaction.
pub fn render_uninstall() -> String {
    format!("\\set ON_ERROR_STOP on\nbegin;\n{BEGIN};\n{}\ncommit;\n", file(UNINSTALL).trim_end())
}

/// All migrations of this program, the oldest first.
pub static MIGRATIONS: LazyLock<Vec<Migration>> = LazyLock::new(|| {
    let files = SQL.get_dir("migrations").into_iter().flat_map(Dir::files);
    let mut all: Vec<_> = files.filter_map(|file| Migration::read(file.path().to_str()?)).collect();
    all.sort_by_key(|migration| migration.version);
    all
});

impl Migration {
    pub const fn sql(&self) -> &'static str {
        self.sql
    }

    /// From `migrations/0001_schema.sql`.
    fn read(path: &'static str) -> Option<Self> {
        let name = path.strip_prefix("migrations/")?.strip_suffix(".sql")?;
        let version = name.split('_').next()?.parse().ok()?;
        let sql = file(path);
        Some(Self { version, name, checksum: hex(digest(&SHA256, sql.as_bytes()).as_ref()), sql })
    }
}

struct Applied {
    version: i32,
    /// `None` where psql applied it.
    checksum: Option<String>,
}

async fn applied(transaction: &Transaction<'_>) -> Result<Vec<Applied>, MigrateError> {
    if transaction.query(MIGRATION_TABLE, &[]).await?.is_empty() {
        let foreign = !transaction.query(SCHEMA, &[]).await?.is_empty();
        return if foreign { Err(MigrateError::ForeignSchema) } else { Ok(Vec::new()) };
    }
    read(&transaction.query(APPLIED, &[]).await?)
}

fn read(rows: &[tokio_postgres::Row]) -> Result<Vec<Applied>, MigrateError> {
    let one = |row: &tokio_postgres::Row| {
        Ok(Applied { version: row.try_get(0)?, checksum: row.try_get(1)? })
    };
    rows.iter().map(one).collect()
}

/// What was applied must be a beginning of what we know, letter by letter.
fn judge(applied: &[Applied]) -> Result<(), MigrateError> {
    if let Some(newer) = applied.iter().find(|applied| applied.version > latest()) {
        return Err(MigrateError::Newer { found: newer.version, known: latest() });
    }
    for (index, known) in MIGRATIONS.iter().enumerate().take(applied.len()) {
        let Applied { version, checksum } = &applied[index];
        if *version != known.version {
            return Err(MigrateError::Gap { missing: known.version });
        }
        if checksum.as_ref().is_some_and(|checksum| *checksum != known.checksum) {
            return Err(MigrateError::Changed { name: known.name });
        }
    }
    Ok(())
}

async fn apply(transaction: &Transaction<'_>, migration: &Migration) -> Result<(), MigrateError> {
    let Migration { version, name, checksum, sql } = migration;
    let failed = |error| MigrateError::file(format!("migrations/{name}.sql"), error);
    transaction.batch_execute(sql).await.map_err(failed)?;
    transaction.execute(RECORD, &[version, name, checksum]).await.map_err(failed)?;
    Ok(())
}

async fn run(transaction: &Transaction<'_>, path: &str) -> Result<(), MigrateError> {
    let failed = |error| MigrateError::file(path.to_owned(), error);
    transaction.batch_execute(file(path)).await.map_err(failed)
}

/// In the order of `sql/install.sql`, because a function's body may be checked against those before it.
fn functions() -> impl Iterator<Item = &'static str> {
    file(INSTALL).lines().filter_map(included).filter(|path| path.starts_with("functions/"))
}

fn included(line: &'static str) -> Option<&'static str> {
    line.trim().strip_prefix("\\ir ").map(str::trim)
}

fn file(path: &str) -> &'static str {
    let file = SQL.get_file(path).and_then(include_dir::File::contents_utf8);
    file.unwrap_or_else(|| panic!("sql/{path} is embedded, as a test makes sure"))
}

fn latest() -> i32 {
    MIGRATIONS.last().map_or(0, |last| last.version)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error("the schema rowcast is not installed in this database: run `rowcast migrate`")]
    NotInstalled,
    #[error(
        "the schema rowcast is older than this program, which needs version {needed}: run `rowcast migrate`"
    )]
    Behind { needed: i32 },
    #[error(
        "the schema rowcast has version {found}, and this program knows up to {known}: use a newer rowcast"
    )]
    Newer { found: i32, known: i32 },
    #[error(
        "the table rowcast.migration lacks version {missing}, yet has later ones: restore it from a backup, or run `rowcast uninstall` and `rowcast migrate`"
    )]
    Gap { missing: i32 },
    #[error(
        "migration {name} was applied with another content than this program has: use the release that installed it, or run `rowcast uninstall` and `rowcast migrate`"
    )]
    Changed { name: &'static str },
    #[error(
        "there is a schema rowcast that rowcast did not make: rename it, or use another database"
    )]
    ForeignSchema,
    #[error("sql/{file}: {reason}")]
    File { file: String, reason: String },
    #[error("{}", explain(.0))]
    Query(Error),
}

impl MigrateError {
    fn file(file: String, error: Error) -> Self {
        // A refusal of our own tells all that there is to tell.
        if error.code().is_some_and(|code| code.code().starts_with("RC")) {
            return Self::Query(error);
        }
        Self::File { file, reason: explain(&error) }
    }
}

impl From<Error> for MigrateError {
    fn from(error: Error) -> Self {
        Self::Query(error)
    }
}

static SQL: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/sql");

const INSTALL: &str = "install.sql";
const UNINSTALL: &str = "uninstall.sql";

/// One installer at a time, psql's `install.sql` included. The wait for it comes before the limit on lock waits:
/// another installer ends soon, whoever holds a table may not.
const BEGIN: &str = "\
set local search_path = pg_catalog, pg_temp;
select pg_advisory_xact_lock(32210705904137079);
set local lock_timeout = '2s'";

const MIGRATION_TABLE: &str =
    "select from pg_catalog.pg_tables where schemaname = 'rowcast' and tablename = 'migration'";
const SCHEMA: &str = "select from pg_catalog.pg_namespace where nspname = 'rowcast'";
const APPLIED: &str = "select version, checksum from rowcast.migration order by version";
const RECORD: &str = "insert into rowcast.migration (version, name, checksum) values ($1, $2, $3)";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn install_sql_names_every_file_once() {
        let named: Vec<_> = file(INSTALL).lines().filter_map(included).collect();
        let unique: BTreeSet<_> = named.iter().copied().collect();
        let there: BTreeSet<_> = ["migrations", "functions"]
            .into_iter()
            .flat_map(|folder| SQL.get_dir(folder).unwrap().files())
            .map(|file| file.path().to_str().unwrap())
            .chain(["grants.sql"])
            .collect();
        assert_eq!(unique, there);
        assert_eq!(unique.len(), named.len());
    }

    #[test]
    fn migrations_are_numbered_without_a_gap() {
        let versions: Vec<_> = MIGRATIONS.iter().map(|migration| migration.version).collect();
        assert_eq!(versions, (1..=i32::try_from(versions.len()).unwrap()).collect::<Vec<_>>());
    }

    #[test]
    fn what_the_migrator_sends_has_no_line_for_psql_and_no_transaction_of_its_own() {
        let migrations = MIGRATIONS.iter().map(|migration| migration.sql);
        let rest = functions().chain(["grants.sql", UNINSTALL]).map(file);
        for line in migrations.chain(rest).flat_map(str::lines) {
            assert!(!line.starts_with('\\'), "{line}");
            assert!(!matches!(line.trim(), "commit;" | "rollback;"), "{line}");
        }
    }

    #[test]
    fn a_changed_newer_or_missing_migration_is_told_apart() {
        let known = &MIGRATIONS[0];
        let applied = |version, checksum: Option<&str>| {
            judge(&[Applied { version, checksum: checksum.map(Into::into) }])
        };
        assert!(applied(1, Some(&known.checksum)).is_ok());
        assert!(applied(1, None).is_ok());
        assert!(matches!(applied(1, Some("0")), Err(MigrateError::Changed { .. })));
        assert!(matches!(applied(latest() + 1, None), Err(MigrateError::Newer { .. })));
        assert!(matches!(applied(0, None), Err(MigrateError::Gap { missing: 1 })));
    }
}
