//! Asks the application's function who may use which channels.
//!
//! In: claims as JSON, channels, an action. Out: an answer for each channel. Invariant: the name in the configuration is
//! looked up, never pasted into a statement; null is a no.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use super::pool::{self, Pool, Unanswered};

pub struct Authorize {
    pool: Pool,
    /// As configured.
    name: String,
    /// As the database has it, quoted.
    resolved: Mutex<Option<String>>,
    /// Bounds the questions at one time, so that a crowd that comes back leaves connections to others.
    turns: Semaphore,
}

#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error(
        "there is no function {0}(jsonb, text, text) that returns boolean: create it, or mend authorize.function"
    )]
    Missing(String),
    #[error("the daemon's role may not execute {0}: grant usage on its schema, and execute on it")]
    NoRight(String),
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
}

impl Authorize {
    pub fn new(pool: Pool, name: String) -> Self {
        let turns = Semaphore::new(pool.max_size().div_ceil(2));
        Self { pool, name, resolved: Mutex::new(None), turns }
    }

    /// One answer a channel, in their order.
    pub async fn ask(
        &self,
        claims: &str,
        channels: &[&str],
        action: &str,
    ) -> Result<Vec<bool>, AskError> {
        let _turn = self.turns.acquire().await;
        let function = self.resolve().await?;
        let statement = format!(
            "select coalesce({function}($1::text::jsonb, asked.channel, $3::text), false) \
               from unnest($2::text[]) with ordinality as asked (channel, at) order by asked.at"
        );
        let answered = pool::ask(&self.pool, async |client| {
            let prepared = client.prepare_cached(&statement).await?;
            let rows = client.query(&prepared, &[&claims, &channels, &action]).await?;
            rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<bool>, _>>()
        })
        .await;
        if answered.is_err() {
            // It may have been dropped, or made anew elsewhere.
            *self.known() = None;
        }
        Ok(answered?)
    }

    /// The function's name, quoted for a statement.
    pub async fn resolve(&self) -> Result<String, AskError> {
        if let Some(name) = self.known().clone() {
            return Ok(name);
        }
        let found = pool::ask(&self.pool, async |client| {
            let row = client.query_opt(RESOLVE, &[&self.name]).await?;
            row.map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).transpose()
        });
        let (name, may_execute): (String, bool) =
            found.await?.ok_or_else(|| AskError::Missing(self.name.clone()))?;
        if !may_execute {
            return Err(AskError::NoRight(name));
        }
        *self.known() = Some(name.clone());
        Ok(name)
    }

    fn known(&self) -> MutexGuard<'_, Option<String>> {
        self.resolved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By the catalog rather than by a cast to `regprocedure`, which fails without usage of the schema.
const RESOLVE: &str = "\
select format('%I.%I', n.nspname, p.proname),
       has_schema_privilege(n.oid, 'usage') and has_function_privilege(p.oid, 'execute')
  from pg_proc p
  join pg_namespace n on n.oid = p.pronamespace
 cross join lateral (select parse_ident($1::text) as parts) as asked
 where p.proname = asked.parts[array_upper(asked.parts, 1)]
   and n.nspname = any (case array_length(asked.parts, 1)
                            when 1 then current_schemas(false)
                            else asked.parts[1:1]::name[]
                        end)
   and oidvectortypes(p.proargtypes) = 'jsonb, text, text'
   and p.prorettype = 'bool'::regtype
   and p.prokind = 'f'
 order by array_position(current_schemas(false), n.nspname)
 limit 1";
