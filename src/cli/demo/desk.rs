//! Answers what the demo's page asks.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::shop::{Op, Shop, USERS};
use crate::auth::{MintError, Minter, Request};
use crate::transport::demo::{self, Answer, Question};

pub struct Desk {
    pub shop: Arc<Shop>,
    pub minter: Minter,
}

impl Desk {
    pub fn token(&self, user: &str) -> Result<String, MintError> {
        let request = Request { user: user.to_owned(), ttl: TOKEN_LIFE, ..Request::default() };
        self.minter.sign(request, SystemTime::now())
    }

    fn config(&self) -> Result<String, String> {
        let user = |name| Ok(json!({ "name": name, "token": self.token(name)? }));
        let users: Result<Vec<_>, MintError> = USERS.into_iter().map(user).collect();
        Ok(json!({ "users": users.map_err(|error| error.to_string())? }).to_string())
    }

    async fn rows(&self, user: &str) -> Result<String, String> {
        self.shop.rows(known(user)?).await.map_err(|error| error.to_string())
    }

    async fn write(&self, user: &str, op: &str) -> Result<String, String> {
        let user = known(user)?;
        let op = match op {
            "insert" => Op::Insert,
            "update" => Op::Update,
            "delete" => Op::Delete,
            _ => return Err("op is insert, update or delete".into()),
        };
        let written = self.shop.write(op, user).await.map_err(|error| error.to_string())?;
        let millis = written.took.as_secs_f64() * 1000.0;
        Ok(json!({ "sql": written.sql, "id": written.id, "ms": millis }).to_string())
    }
}

impl demo::Desk for Desk {
    fn answer(&self, question: Question) -> Answer<'_> {
        Box::pin(async move {
            match question {
                Question::Config => self.config(),
                Question::Rows { user } => self.rows(&user).await,
                Question::Write { user, op } => self.write(&user, &op).await,
            }
        })
    }
}

/// Only a name of the list goes into a statement.
fn known(user: &str) -> Result<&'static str, String> {
    let names = USERS.into_iter().find(|name| *name == user);
    names.ok_or_else(|| format!("user is {} or {}", USERS[0], USERS[1]))
}

/// The page asks again before it ends.
const TOKEN_LIFE: Duration = Duration::from_secs(60 * 60);
