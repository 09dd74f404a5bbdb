//! Keeps the sample orders changing, at the pace of a small shop.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::shop::{Op, Shop, ShopError, USERS, pick};

/// Never ends by itself; a database that is away is tried again.
pub async fn run(shop: Arc<Shop>) {
    loop {
        if let Err(error) = step(&shop).await {
            tracing::debug!(%error, "the demo's writer skips a step");
        }
        sleep(Duration::from_millis(pick(&PAUSES))).await;
    }
}

async fn step(shop: &Shop) -> Result<(), ShopError> {
    let user = pick(&USERS);
    shop.trim().await?;
    let op = match shop.order_count(user).await? {
        ..FEW => Op::Insert,
        MANY.. => Op::Delete,
        _ => pick(&[Op::Insert, Op::Insert, Op::Update, Op::Update, Op::Update, Op::Delete]),
    };
    match shop.write(op, user).await {
        Err(ShopError::AllShipped) => shop.write(Op::Insert, user).await,
        done => done,
    }?;
    Ok(())
}

/// Milliseconds between two statements: about three a second, unevenly.
const PAUSES: [u64; 6] = [120, 200, 280, 350, 450, 600];

/// A panel of the page is neither empty nor full.
const FEW: i64 = 5;
const MANY: i64 = 9;
