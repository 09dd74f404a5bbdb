//! The seam between past and live, against a model of the database: whatever the sockets take, wherever clients
//! come back to, each of them gets every event once, and the versions of a row rise.

mod model;
mod socket;

use std::ops::RangeInclusive;
use std::time::Duration;

use model::Model;
use tokio::time::sleep;

#[tokio::test(start_paused = true)]
async fn every_client_gets_every_event_once_whatever_happens_to_its_socket() {
    for seed in seeds(600) {
        run(Model::new(seed), 3).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_holds_where_crowds_come_back_to_a_small_memory() {
    for seed in seeds(300) {
        run(Model::crowded(seed), 12).await;
    }
}

/// A client whose place is written down coarser gets some of what it has once more, and in order.
#[tokio::test(start_paused = true)]
async fn with_too_many_transactions_in_progress_nothing_is_lost_and_the_versions_of_a_row_rise() {
    for seed in seeds(100) {
        run(Model::coarse(seed), 6).await;
    }
}

/// Threads of their own make each run another one.
#[tokio::test]
async fn the_same_holds_where_the_sockets_are_divided_among_shards() {
    for seed in seeds(30) {
        run(Model::sharded(seed), 8).await;
    }
}

fn seeds(count: u64) -> RangeInclusive<u64> {
    std::env::var("SEED").map_or(1..=count, |seed| {
        let seed = seed.parse().expect("SEED is a number");
        seed..=seed
    })
}

async fn run(mut model: Model, clients: usize) {
    model.join_clients(clients).await;
    for _ in 0..400 {
        model.step().await;
    }
    model.finish().await;
}

/// In the fake time of this test, whoever waits makes it pass.
#[tokio::test(start_paused = true)]
async fn a_slow_socket_is_caught_up_and_one_that_takes_nothing_is_given_up() {
    let mut model = Model::new(7);
    model.join_clients(3).await;
    let (stuck, slow, good) = (0, 1, 2);
    for client in [stuck, slow] {
        model.clients[client].socket.give_room(Some(0));
    }
    for _ in 0..3 {
        model.write_alone();
    }
    model.read_all().await;
    model.expect_all(good).await;

    while !model.clients[slow].is_told("lagged") {
        sleep(Duration::from_secs(1)).await;
        model.clients[slow].socket.give_room(Some(1));
    }
    model.write_alone();
    model.read_all().await;
    model.clients[slow].socket.give_room(None);
    model.expect_all(slow).await;
    assert!(!model.clients[slow].socket.is_over());

    while !model.clients[stuck].socket.is_over() {
        sleep(Duration::from_secs(1)).await;
    }
    model.expect_all(good).await;
}

#[tokio::test(start_paused = true)]
async fn what_no_log_holds_and_a_slow_socket_misses_is_admitted() {
    let mut model = Model::new(3);
    model.join_clients(1).await;
    model.clients[0].socket.give_room(Some(0));
    for _ in 0..20 {
        model.publish_unlogged().await;
    }
    model.write_alone();
    model.read_all().await;
    sleep(Duration::from_secs(10)).await;
    model.clients[0].socket.give_room(None);
    model.expect_all(0).await;
    assert!(model.clients[0].is_told("reset all not_logged"));
    assert!(!model.clients[0].is_told("reset row:* not_logged"));
}

/// What it waits for is dropped and nothing has to be said of it, so what comes next finds an empty outbox.
#[tokio::test(start_paused = true)]
async fn what_comes_while_a_socket_is_blocked_and_nothing_waits_for_it_arrives_once() {
    let mut model = Model::remembering(3, 40_000);
    model.join_clients(1).await;
    model.clients[0].socket.give_room(Some(0));
    model.publish_unlogged().await;
    model.settle().await;
    model.clients[0].unsubscribe("all").await;
    sleep(Duration::from_secs(10)).await;
    let mut written = 0;
    for _ in 0..3 {
        written += model.write_alone();
        model.read_all().await;
        model.settle().await;
    }
    model.clients[0].socket.give_room(None);
    model.expect(0, written).await;
    assert!(!model.clients[0].is_told("lagged"));
}

#[tokio::test]
async fn a_crowd_that_comes_back_is_served_from_memory_and_gives_way_to_what_is_live() {
    let mut model = Model::remembering_all(5);
    model.join_clients(1).await;
    let live = 0;
    let start = model.clients[live].places();
    for _ in 0..500 {
        model.write_alone();
    }
    model.read_all().await;
    model.expect_all(live).await;

    let crowd = 300;
    model.join_idle(crowd).await;
    for client in 1..=crowd {
        model.clients[client].resume(&start, 0).await;
    }
    model.write_alone();
    model.read_all().await;
    model.expect_all(live).await;
    let served = (1..=crowd).filter(|client| model.clients[*client].is_told("ok")).count();
    assert!(served < crowd / 2, "{served} of {crowd} were served before a live event was");
    for client in 1..=crowd {
        model.expect_all(client).await;
    }
    assert_eq!(model.pages_read(), 0, "the log was not asked");
}

#[tokio::test(start_paused = true)]
async fn a_crowd_behind_memory_costs_one_read_of_the_log_and_its_memory_is_given_back() {
    let mut model = Model::remembering(5, 40_000);
    model.join_clients(1).await;
    let start = model.clients[0].places();
    for _ in 0..24 {
        model.write_alone();
        model.read_all().await;
    }
    model.expect_all(0).await;
    let crowd = 100;
    for round in 1..=2 {
        model.join_idle(crowd).await;
        let before = model.pages_read();
        for client in 1 + (round - 1) * crowd..=round * crowd {
            model.clients[client].resume(&start, 0).await;
        }
        for client in 1 + (round - 1) * crowd..=round * crowd {
            model.expect_all(client).await;
        }
        assert_eq!(model.pages_read() - before, 1, "one read for all, not kept for ever");
        sleep(Duration::from_secs(20)).await;
    }
}
