//! Each watch and what became of its table: triggers, partitions, keys, replication.
//!
//! In: a connection. Out: [`Watched`] for each, and [`Shadow`]s that keep triggers from firing. Invariant: tables are
//! named in full and quoted, so that a name goes into a statement as it is.

use tokio_postgres::{Client, Row};

use crate::postgres::error::QueryError;

#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    pub oid: i64,
    pub table: String,
    pub is_dropped: bool,
    pub channels: Vec<String>,
    pub users: Option<Vec<String>>,
    pub is_logged: bool,
    pub by_statement: bool,
    pub wakes: bool,
    pub has_key: bool,
    /// The triggers it needs, as they are.
    pub triggers: Vec<Trigger>,
    /// Partitions in which a trigger of the watch does not fire, as `(partition, trigger)`.
    pub uncovered: Vec<(String, String)>,
    /// Tables that inherit from it and are not watched.
    pub children: Vec<String>,
    /// Columns that the watch names and the table no longer has.
    pub lost: Vec<String>,
    /// Whether a subscription of logical replication writes it.
    pub is_replicated: bool,
    /// What `rowcast.watches` says.
    pub drift: Option<String>,
    /// The call that watches it, up to the arguments `capture` and `wake`.
    pub call: String,
    pub capture: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    pub name: String,
    /// As in `pg_trigger`: `O`, `D`, `R`, `A`; `None` where it is missing.
    pub enabled: Option<char>,
}

/// A default of `session_replication_role` that keeps ordinary triggers from firing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shadow {
    /// Who writes without triggers: `the role app`, `everybody`.
    pub whose: String,
    /// The statement that ends it.
    pub mend: String,
}

impl Watched {
    /// The statement that watches it again as it was.
    pub fn again(&self) -> String {
        self.with(&self.capture, if self.wakes { "auto" } else { "poll" })
    }

    /// The same, captured by row.
    pub fn by_row(&self) -> String {
        self.with("row", if self.wakes { "auto" } else { "poll" })
    }

    /// The same, with writers that never notify.
    pub fn polled(&self) -> String {
        self.with(&self.capture, "poll")
    }

    fn with(&self, capture: &str, wake: &str) -> String {
        format!("{}, capture => '{capture}', wake => '{wake}');", self.call)
    }

    fn read(row: &Row) -> Result<Self, tokio_postgres::Error> {
        let (names, states): (Vec<String>, Vec<Option<String>>) =
            (row.try_get(9)?, row.try_get(10)?);
        let state = |state: Option<String>| state.and_then(|state| state.chars().next());
        let trigger = |(name, enabled)| Trigger { name, enabled: state(enabled) };
        let (leaves, cut): (Vec<String>, Vec<String>) = (row.try_get(11)?, row.try_get(12)?);
        Ok(Self {
            oid: row.try_get(0)?,
            table: row.try_get(1)?,
            is_dropped: row.try_get(2)?,
            channels: row.try_get(3)?,
            users: row.try_get(4)?,
            is_logged: row.try_get(5)?,
            by_statement: row.try_get(6)?,
            wakes: row.try_get(7)?,
            has_key: row.try_get(8)?,
            triggers: names.into_iter().zip(states).map(trigger).collect(),
            uncovered: leaves.into_iter().zip(cut).collect(),
            children: row.try_get(13)?,
            lost: row.try_get(14)?,
            is_replicated: row.try_get(15)?,
            drift: row.try_get(16)?,
            call: row.try_get(17)?,
            capture: row.try_get(18)?,
        })
    }
}

pub async fn watched(client: &Client) -> Result<Vec<Watched>, QueryError> {
    let rows = super::rows(client, WATCHED, &[]).await?;
    rows.iter().map(|row| Ok(Watched::read(row)?)).collect()
}

pub async fn shadows(client: &Client) -> Result<Vec<Shadow>, QueryError> {
    let rows = super::rows(client, SHADOWS, &[]).await?;
    let shadow = |row: &Row| Ok(Shadow { whose: row.try_get(0)?, mend: row.try_get(1)? });
    rows.iter().map(shadow).collect()
}

/// A truncate has a trigger only where somebody could be told of it.
const WATCHED: &str = r#"
with w as (
       select w.*,
              c.oid is null as is_dropped,
              c.relkind,
              case when c.oid is null then w.name else format('%I.%I', n.nspname, c.relname) end as full_name,
              array(select op
                      from unnest(w.ops) op
                     where op <> 'truncate'
                        or (w.users is null and exists (select from unnest(w.channels) t where t !~ '\{'))) as needed
         from rowcast.watched w
         left join pg_class c on c.oid = w.target
         left join pg_namespace n on n.oid = c.relnamespace)
select w.target::oid::int8,
       w.full_name,
       w.is_dropped,
       w.channels,
       w.users,
       w.log,
       w.captured = 'statement',
       w.wake = 'auto',
       cardinality(w.key) > 0,
       triggers.names,
       triggers.states,
       uncovered.leaves,
       uncovered.names,
       array(select format('%I.%I', n.nspname, c.relname)
               from pg_inherits i
               join pg_class c on c.oid = i.inhrelid
               join pg_namespace n on n.oid = c.relnamespace
              where i.inhparent = w.target
                and w.relkind = 'r'
                and not exists (select from rowcast.watched x where x.target = i.inhrelid)
              order by 1),
       array(select distinct n.name
               from (select unnest(w.columns || w."except") as name
                      union all
                     select m[1]
                       from unnest(w.channels || w.users) t
                      cross join regexp_matches(t, '\{([^{}]+)\}', 'g') m) n
              where not exists (select from pg_attribute a
                                 where a.attrelid = w.target
                                   and a.attname = n.name
                                   and not a.attisdropped)
              order by 1),
       exists (select from pg_subscription_rel s where s.srrelid = w.target),
       rowcast._drift(w.target),
       format('select rowcast.watch(%L, channels => %L, users => %L, columns => %L, "except" => %L, ops => %L, condition => %L, old => %L, log => %L',
              w.full_name, w.channels, w.users, w.columns, w."except", w.ops, w.condition, w.old, w.log),
       w.capture
  from w
 cross join lateral (select coalesce(array_agg('rowcast_900_' || op), '{}') as names,
                            coalesce(array_agg(t.tgenabled::text), '{}') as states
                       from unnest(w.needed) op
                       left join pg_trigger t on t.tgrelid = w.target
                                             and t.tgname = 'rowcast_900_' || op) triggers
 cross join lateral (select coalesce(array_agg(format('%I.%I', n.nspname, c.relname)), '{}') as leaves,
                            coalesce(array_agg('rowcast_900_' || op), '{}') as names
                       from pg_partition_tree(w.target) p
                       join pg_class c on c.oid = p.relid
                       join pg_namespace n on n.oid = c.relnamespace
                      cross join unnest(w.needed) op
                       left join pg_trigger t on t.tgrelid = p.relid
                                             and t.tgname = 'rowcast_900_' || op
                      where p.relid <> w.target
                        and p.isleaf
                        and op <> 'truncate'
                        and w.relkind = 'p'
                        and (t.oid is null or t.tgenabled in ('D', 'R'))) uncovered
 order by w.full_name"#;

/// The server's own default shows in this session, unless the role or the database has another.
const SHADOWS: &str = "\
select case
           when s.setrole <> 0 then format('the role %I', r.rolname)
           else 'every role of this database'
       end,
       case
           when s.setrole = 0 then format('alter database %I reset session_replication_role;', d.datname)
           when s.setdatabase = 0 then format('alter role %I reset session_replication_role;', r.rolname)
           else format('alter role %I in database %I reset session_replication_role;', r.rolname, d.datname)
       end
  from pg_db_role_setting s
  left join pg_roles r on r.oid = s.setrole
  left join pg_database d on d.oid = s.setdatabase
 where (s.setdatabase = 0 or d.datname = current_database())
   and 'session_replication_role=replica' = any (s.setconfig)
 union all
select 'everybody', 'alter system reset session_replication_role; select pg_reload_conf();'
 where current_setting('session_replication_role') = 'replica'
   and (select source from pg_settings where name = 'session_replication_role') = 'configuration file'";
