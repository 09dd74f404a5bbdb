//! The database that a demo plays on.
//!
//! In: a URL, or nothing. Out: a database with the schemas `rowcast` and `demo`. Invariant: [`Stage::clear`] leaves
//! the database as it was found; a server of our own goes with the process in any case.

use std::sync::Arc;

use super::shop::Shop;
use crate::cli::{Failure, tell};
use crate::postgres::connect::{SessionOptions, Target};
use crate::postgres::migrations::{migrate, uninstall};
use crate::postgres::scratch::{ScratchCluster, ScratchOptions};

pub struct Stage {
    url: String,
    target: Target,
    /// The server, where it is ours.
    cluster: Option<ScratchCluster>,
    /// Whether the schema `rowcast` was not there before.
    installed: bool,
    shop: Option<Arc<Shop>>,
}

impl Stage {
    pub async fn set(database: Option<&str>) -> Result<Self, Failure> {
        let (url, cluster) = if let Some(url) = database {
            tell(
                "Using the database of DATABASE_URL; the schema demo in it is dropped at the end.",
            );
            (url.to_owned(), None)
        } else {
            tell("Starting a private PostgreSQL server.");
            let cluster = ScratchCluster::start(ScratchOptions::default()).await?;
            (cluster.url("postgres"), Some(cluster))
        };
        let session =
            SessionOptions { application_name: "rowcast demo".into(), statement_timeout: None };
        let target = Target::parse(&url)?.with_session(session);
        Ok(Self { url, target, cluster, installed: false, shop: None })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub async fn open_shop(&mut self) -> Result<Arc<Shop>, Failure> {
        let mut client = self.target.connect_spawned().await?;
        self.installed = migrate(&mut client).await?.from.is_none();
        let shop = Arc::new(Shop::open(&self.target).await?);
        self.shop = Some(Arc::clone(&shop));
        Ok(shop)
    }

    pub async fn clear(self) -> Result<(), Failure> {
        let cleared = match self.cluster {
            Some(_) => Ok(()),
            None => self.clear_database().await,
        };
        if let Some(shop) = self.shop {
            shop.close();
        }
        if let Some(cluster) = self.cluster {
            cluster.stop().await;
        }
        cleared
    }

    async fn clear_database(&self) -> Result<(), Failure> {
        if let Some(shop) = &self.shop {
            shop.clear().await?;
        }
        if self.installed {
            uninstall(&mut self.target.connect_spawned().await?).await?;
        }
        Ok(())
    }
}
