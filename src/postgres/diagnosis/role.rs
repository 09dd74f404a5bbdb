//! The role that the daemon is: what it may do beyond what it needs.
//!
//! In: a connection. Out: [`Role`]. Invariant: asks the catalog only; no table of the application is touched.

use tokio_postgres::Client;

use crate::postgres::error::QueryError;

#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// Quoted as SQL needs it, like the database.
    pub name: String,
    pub database: String,
    pub is_superuser: bool,
    /// Such as `createrole`.
    pub attributes: Vec<String>,
    /// Whether it can act as `rowcast_owner`.
    pub is_owner: bool,
    pub writes_log: bool,
    /// Tables of the application that it may read or write, the first few of them.
    pub tables: Vec<String>,
    pub tables_in_all: i64,
    /// Whether each of those rights was granted to this very role.
    pub are_granted: bool,
    /// Connections that the role, or the database, may have; -1 is no limit.
    pub connection_limit: i32,
    pub database_limit: i32,
    /// Whether it sees what sessions of other roles do.
    pub sees_sessions: bool,
    /// Its transactions begin read-only.
    pub is_read_only: bool,
    /// Others can see whether its sessions are at work.
    pub is_tracked: bool,
}

pub async fn role(client: &Client) -> Result<Role, QueryError> {
    let row = super::row(client, QUERY, &[]).await?;
    Ok(Role {
        name: row.try_get(0)?,
        database: row.try_get(1)?,
        is_superuser: row.try_get(2)?,
        attributes: row.try_get(3)?,
        is_owner: row.try_get(4)?,
        writes_log: row.try_get(5)?,
        tables: row.try_get(6)?,
        tables_in_all: row.try_get(7)?,
        are_granted: row.try_get(8)?,
        connection_limit: row.try_get(9)?,
        database_limit: row.try_get(10)?,
        sees_sessions: row.try_get(11)?,
        is_read_only: row.try_get(12)?,
        is_tracked: row.try_get(13)?,
    })
}

/// Tables of extensions are often open to everybody, and hold nothing of the application.
const QUERY: &str = "\
with open as (
       select format('%I.%I', n.nspname, c.relname) as name,
              exists (select from aclexplode(c.relacl) g
                       where g.grantee = (select oid from pg_roles where rolname = current_user)
                         and c.relowner <> g.grantee) as is_granted
         from pg_class c
         join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p', 'f', 'm')
          and n.nspname not in ('pg_catalog', 'information_schema', 'rowcast')
          and not starts_with(n.nspname, 'pg_')
          and has_schema_privilege(n.oid, 'usage')
          and has_table_privilege(c.oid, 'select, insert, update, delete, truncate')
          and not exists (select from pg_depend d
                           where d.classid = 'pg_class'::regclass
                             and d.objid = c.oid
                             and d.deptype = 'e'))
select quote_ident(current_user),
       quote_ident(current_database()),
       r.rolsuper,
       array_remove(array[case when r.rolcreaterole then 'createrole' end,
                          case when r.rolcreatedb then 'createdb' end,
                          case when r.rolreplication then 'replication' end,
                          case when r.rolbypassrls then 'bypassrls' end], null),
       coalesce((select pg_has_role(o.oid, 'member')
                   from pg_roles o
                  where o.rolname = 'rowcast_owner'), false),
       coalesce((select has_table_privilege(c.oid, 'insert, update, delete, truncate')
                   from pg_class c
                   join pg_namespace n on n.oid = c.relnamespace
                  where n.nspname = 'rowcast'
                    and c.relname = 'event'), false),
       array(select name from open order by name limit 3),
       (select count(*) from open),
       coalesce((select bool_and(is_granted) from open), false),
       r.rolconnlimit,
       (select d.datconnlimit from pg_database d where d.datname = current_database()),
       pg_has_role('pg_read_all_stats', 'usage'),
       current_setting('default_transaction_read_only')::bool,
       current_setting('track_activities')::bool
  from pg_roles r
 where r.rolname = current_user";
