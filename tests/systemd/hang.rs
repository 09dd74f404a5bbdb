//! A hub that really hangs: a socket whose write never returns, which no socket of ours does.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rowcast::app::Signs;
use rowcast::domain::message::SystemEvent;
use rowcast::hub::{Hub, HubOptions, Sink};
use rowcast::lifecycle::{Health, Hung, Pulse};
use rowcast::protocol::native::Native;
use rowcast::telemetry::metrics::Observer;
use tokio::sync::watch;

/// Its first write waits until the other end says something.
struct Stuck(Mutex<Receiver<()>>, Sender<()>);

impl Sink for Stuck {
    fn try_write(&self, frames: &[IoSlice<'_>]) -> io::Result<usize> {
        let _ = self.1.send(());
        let _ = self.0.lock().unwrap().recv();
        Ok(frames.iter().map(|frame| frame.len()).sum())
    }

    fn writable(&self) -> Pin<Box<dyn Future<Output = io::Result<()>> + Send + '_>> {
        Box::pin(async { Ok(()) })
    }

    fn finish(&self) {}

    fn abort(&self) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_answers_for_a_hub_that_hangs() {
    let observer = Observer::default();
    let options = HubOptions {
        queue_bytes: 1 << 20,
        queue_age: Duration::from_secs(5),
        patience: Duration::from_secs(30),
        recent_bytes: 1 << 20,
        shards: 1,
    };
    let hub = Hub::start(options, observer);
    let health = watch::Sender::new(Health::Ready);
    let mut signs = Signs::new(hub.clone(), Pulse::default(), health.subscribe());
    let patience = Duration::from_millis(500);
    assert_eq!(signs.take(patience).await.map(|vitals| vitals.clients), Ok(0));
    let (release, released) = channel();
    let (writes, written) = channel();
    let sink = Arc::new(Stuck(Mutex::new(released), writes));
    let subscriber = hub.join(sink, &Native).await.expect("the hub lives");
    subscriber.identify(Some("ana".into())).await;
    subscriber.send(bytes::Bytes::from_static(b"welcome")).await;
    tokio::task::spawn_blocking(move || written.recv()).await.unwrap().expect("it writes");
    let first = signs.take(patience).await;
    let second = signs.take(patience).await;
    assert_eq!(second, Err(Hung::Hub), "after {first:?}");
    release.send(()).expect("the sink lives");
    drop(release);
    let mut last = signs.take(patience).await;
    for _ in 0..100 {
        if last.is_ok() {
            break;
        }
        last = signs.take(patience).await;
    }
    assert_eq!(last.map(|vitals| vitals.clients), Ok(1));
    hub.announce(SystemEvent::Recovered).await;
}
