//! The one server of this test process, started by whoever asks first.

use std::path::PathBuf;

use rowcast::postgres::scratch::{ScratchCluster, ScratchOptions};
use tokio::sync::OnceCell;

pub async fn cluster() -> &'static ScratchCluster {
    static CLUSTER: OnceCell<ScratchCluster> = OnceCell::const_new();
    CLUSTER
        .get_or_init(async || match ScratchCluster::start(options()).await {
            Ok(cluster) => cluster,
            Err(error) => panic!("the test server does not start: {error}"),
        })
        .await
}

/// What the shared server runs with; a test that needs a server of its own starts from it.
pub fn options() -> ScratchOptions {
    let settings = [
        ("max_connections", "200"),
        ("max_prepared_transactions", "20"),
        ("track_commit_timestamp", "on"),
    ];
    ScratchOptions {
        binaries: std::env::var_os("ROWCAST_TEST_PGBIN").map(PathBuf::from),
        tcp: true,
        settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..ScratchOptions::default()
    }
}
