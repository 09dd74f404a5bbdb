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
        return vec![heard("database.url", prove(client, url).await)];
    };
    let Ok(listen) = target(listen_url.expose()) else { return Vec::new() };
    let listens = heard("database.listen_url", prove(client, &listen).await);
    vec![listens, pooled(prove(client, url).await)]
}

/// What is wrong, and whether a pooler is to blame.
async fn prove(client: &Client, target: &Target) -> Result<(), (String, bool)> {
    let proof = async {
        let mut listener = Listener::connect(target).await?;
        listener.prove(client, target).await
    };
    let mut is_deaf = false;
    let told = within(async {
        proof.await.inspect_err(|error| is_deaf = matches!(error, ListenError::Deaf(_)))
    });
    told.await.map_err(|why| (why, is_deaf))
}

fn heard(key: &str, proof: Result<(), (String, bool)>) -> Check {
    const NAME: &str = "LISTEN";
    match proof {
        Ok(()) => Check::ok(NAME, "a notification went round"),
        Err((_, true)) => Check::failure(
            NAME,
            format!(
                "{key} hears nothing: it leads through a pooler in transaction mode, such as PgBouncer, or to another database than database.url"
            ),
            "set database.listen_url to a connection that goes straight to PostgreSQL",
        ),
        Err((why, false)) => {
            Check::failure(NAME, why, format!("mend {key}, or what stands in the way"))
        }
    }
}

/// Of the connection for queries, where another one listens.
fn pooled(proof: Result<(), (String, bool)>) -> Check {
    const NAME: &str = "pooler";
    match proof {
        Err((_, true)) => Check::warning(
            NAME,
            "database.url leads through a pooler in transaction mode, which may forget prepared statements",
            "let database.url go straight to PostgreSQL as well: rowcast pools by itself; or set max_prepared_statements in PgBouncer 1.21 or later",
        ),
        _ => Check::ok(NAME, "none in transaction mode at database.url"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::check::State;

    #[test]
    fn only_a_line_that_is_deaf_is_blamed_on_a_pooler() {
        let deaf = || Err((String::new(), true));
        let broken = || Err(("refused".to_owned(), false));
        assert_eq!(heard("database.url", Ok(())).state, State::Ok);
        assert!(heard("database.url", deaf()).answer.contains("PgBouncer"));
        assert_eq!(heard("database.url", broken()).answer, "refused");
        assert_eq!(pooled(deaf()).state, State::Warning);
        assert_eq!(pooled(broken()).state, State::Ok);
    }
}
