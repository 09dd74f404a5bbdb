-- The beginning of every insert into the log; the order of its columns is that of rowcast._event_select.
create or replace function rowcast._log_columns()
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select 'insert into rowcast.event ("table", op, channels, users, key, "row", old, changed, "user", origin, truncated)'::text;
$$;

comment on function rowcast._log_columns() is
    'The beginning of every insert into the log.';
