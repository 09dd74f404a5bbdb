//! Waiting for what nothing signals.
//!
//! In: what is waited for, in words, and a look at it. Out: what the look found. Invariant: it is looked at again and
//! again, and where that never finds anything, the panic says what did not come.

use std::fmt::Display;
use std::thread;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};
use tokio_postgres::Client;

/// Until the look finds something.
pub async fn until<T>(what: impl Display, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = timeout(DEADLINE, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            sleep(PAUSE).await;
        }
    });
    found.await.unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"))
}

/// Until a query says true.
pub async fn until_true(session: &Client, what: impl Display, query: &str) {
    until(what, async || {
        let row = session.query_one(query, &[]).await.expect("the query is one");
        row.get::<_, Option<bool>>(0).filter(|is_so| *is_so)
    })
    .await;
}

/// The same where there is no runtime.
pub fn until_blocking<T>(what: impl Display, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        thread::sleep(PAUSE);
    }
}

/// Far beyond what a loaded machine needs.
const DEADLINE: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(10);
