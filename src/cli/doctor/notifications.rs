//! Do notifications arrive?
//!
//! In: the connection strings. Out: checks. Invariant: asked as the daemon does, with a word that goes round.

use tokio_postgres::Client;

use super::check::Check;
use super::database::{target, within};
use crate::config::Config;
use crate::postgres::connect::Target;
use crate::postgres::listener::{ListenError, Listener};

pub async fn examine(client: &Client, url: &Target, config: &Config) -> Vec<Check> {
    let Some(listen_url) = &config.database.listen_url else {
        return vec![listens("database.url", prove(client, url).await)];
    };
    let Ok(listen) = target(listen_url.expose()) else { return Vec::new() };
    let direct = listens("database.listen_url", prove(client, &listen).await);
    vec![direct, pooled(&prove(client, url).await)]
}

/// What became of the word that was sent round.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    Heard,
    /// The line answers, and keeps it back.
    Kept,
    /// There is no such line.
    NoWay(String),
}

async fn prove(client: &Client, target: &Target) -> Word {
    let proof = Box::pin(async {
        let mut listener = Listener::connect(target).await?;
        listener.prove(client, target).await
    });
    let mut is_deaf = false;
    let told = within(async {
        proof.await.inspect_err(|error| is_deaf = matches!(error, ListenError::Deaf(_)))
    });
    match told.await {
        Ok(()) => Word::Heard,
        Err(_) if is_deaf => Word::Kept,
        Err(why) => Word::NoWay(why),
    }
}

fn listens(key: &str, word: Word) -> Check {
    const NAME: &str = "LISTEN";
    match word {
        Word::Heard => Check::ok(NAME, "a notification went round"),
        Word::Kept => Check::failure(
            NAME,
            format!(
                "{key} hears nothing: it leads through a pooler in transaction mode, such as PgBouncer, or to another database than database.url"
            ),
            "set database.listen_url to a connection that goes straight to PostgreSQL",
        ),
        Word::NoWay(why) => {
            Check::failure(NAME, why, format!("mend {key}, or what stands in the way"))
        }
    }
}

/// Of the connection for queries, where another one listens.
fn pooled(word: &Word) -> Check {
    const NAME: &str = "pooler";
    if *word == Word::Kept {
        return Check::warning(
            NAME,
            "database.url leads through a pooler in transaction mode, which may forget prepared statements",
            "let database.url go straight to PostgreSQL as well: rowcast pools by itself; or set max_prepared_statements in PgBouncer 1.21 or later",
        );
    }
    Check::ok(NAME, "none in transaction mode at database.url")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::check::State;

    #[test]
    fn only_a_line_that_is_deaf_is_blamed_on_a_pooler() {
        let broken = || Word::NoWay("refused".to_owned());
        assert_eq!(listens("database.url", Word::Heard).state, State::Ok);
        assert!(listens("database.url", Word::Kept).answer.contains("PgBouncer"));
        assert_eq!(listens("database.url", broken()).answer, "refused");
        assert_eq!(pooled(&Word::Kept).state, State::Warning);
        assert_eq!(pooled(&broken()).state, State::Ok);
    }
}
