//! Tasks without which the daemon is of no use.
//!
//! In: such a task. Out: the end of the process, should it panic. Invariant: a daemon that has lost one of them does
//! not look alive; whoever supervises it starts it anew, and nothing is lost.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

pub async fn indispensable(name: &'static str, task: impl Future<Output = ()>) {
    // Nothing looks at what it has left behind.
    if AssertUnwindSafe(task).catch_unwind().await.is_err() {
        tracing::error!(task = name, "a fault of rowcast: its panic is above");
        std::process::exit(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const INSIDE: &str = "ROWCAST_TEST_PANICS";

    #[tokio::test]
    async fn its_panic_ends_the_process() {
        if std::env::var_os(INSIDE).is_some() {
            let task = indispensable("the test", async { panic!("as planned") });
            let _ = tokio::spawn(task).await;
            return;
        }
        let name = "lifecycle::indispensable::tests::its_panic_ends_the_process";
        let this = std::env::current_exe().unwrap();
        let ended = Command::new(this).args(["--exact", name]).env(INSIDE, "1").output().unwrap();
        // A test that passes ends with 0, one that fails with 101.
        assert_eq!(ended.status.code(), Some(1), "{}", String::from_utf8_lossy(&ended.stderr));
    }
}
