//! The database, for commands that a person waits for.
//!
//! In: the configuration. Out: a connection without a limit on statements. Invariant: what the server remarks on the
//! way is shown to the person, not lost in a log.

use tokio_postgres::{AsyncMessage, Client};

use super::{Failure, Settings, tell};
use crate::postgres::connect::{Connection, SessionOptions, Target};
use crate::postgres::migrations::check;

pub(super) fn target(settings: &Settings) -> Result<Target, Failure> {
    let loaded = settings.load()?;
    let session = SessionOptions { statement_timeout: None, ..SessionOptions::default() };
    Ok(Target::parse(loaded.config.database.url.expose())?.with_session(session))
}

pub(super) async fn connect(target: &Target) -> Result<Client, Failure> {
    let (client, connection) = target.connect().await?;
    tokio::spawn(show_notices(connection));
    Ok(client)
}

/// A connection to a database that has the schema this program needs.
pub(super) async fn connect_installed(settings: &Settings) -> Result<Client, Failure> {
    let client = connect(&target(settings)?).await?;
    check(&client).await?;
    Ok(client)
}

async fn show_notices(mut connection: Connection) {
    while let Some(Ok(message)) = connection.next_message().await {
        if let AsyncMessage::Notice(notice) = message {
            tell(&format!("{}: {}", notice.severity(), notice.message()));
        }
    }
}
