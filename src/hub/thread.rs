//! A shard on a thread of its own.
//!
//! In: the shard's work. Out: nothing. Invariant: the thread ends with the work; what the shard spawns runs there too.

use tokio::runtime::Builder;

pub(super) fn run(number: usize, work: impl Future<Output = ()> + Send + 'static) {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("the process may have another epoll instance");
    let named = std::thread::Builder::new().name(format!("shard-{number}"));
    named.spawn(move || runtime.block_on(work)).expect("the process may have another thread");
}
