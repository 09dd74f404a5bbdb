//! The event log: its size, its age, what is where it should not be.
//!
//! In: a connection. Out: [`Log`]. Invariant: cheap however large the log is: sizes come from the file system, the
//! oldest event from an index.

use tokio_postgres::Client;

use crate::postgres::error::QueryError;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    pub bytes: i64,
    /// Seconds since the oldest event that is still there.
    pub oldest: Option<f64>,
    /// Events outside of the slots, a thousand at most.
    pub astray: i64,
    /// Partitions that somebody dropped or detached.
    pub missing_slots: Vec<String>,
    /// Sessions that hold a lock on a slot, other than daemons.
    pub readers: Vec<i32>,
}

pub async fn log(client: &Client) -> Result<Log, QueryError> {
    let row = super::row(client, QUERY, &[]).await?;
    Ok(Log {
        bytes: row.try_get(0)?,
        oldest: row.try_get(1)?,
        astray: row.try_get(2)?,
        missing_slots: row.try_get(3)?,
        readers: row.try_get(4)?,
    })
}

const QUERY: &str = "\
select (select coalesce(sum(pg_total_relation_size(t.relid)), 0)::int8
          from pg_partition_tree('rowcast.event') t),
       (select extract(epoch from clock_timestamp() - e.at)::float8
          from rowcast.event e
         order by e.xid, e.id
         limit 1),
       (select count(*)
          from (select from rowcast.event e where e.slot is null limit 1000) astray),
       array(select 'event_' || slot
               from generate_series(0, 11) slot
              where not exists (select from pg_class c
                                  join pg_inherits i on i.inhrelid = c.oid
                                 where i.inhparent = 'rowcast.event'::regclass
                                   and c.relname = 'event_' || slot)
              order by slot),
       array(select distinct l.pid
               from pg_locks l
               join pg_stat_activity a on a.pid = l.pid
              where l.relation in (select t.relid from pg_partition_tree('rowcast.event') t where t.isleaf)
                and l.database = (select d.oid from pg_database d where d.datname = current_database())
                and a.application_name <> 'rowcast'
                and l.pid <> pg_backend_pid())";
