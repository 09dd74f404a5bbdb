-- A truncate has no row: it can go only to channels that need none, and to no audience taken from rows.
create or replace function rowcast._tells_truncate(w rowcast.watched)
    returns boolean
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select w.users is null and exists (select from unnest(w.channels) t where t !~ '\{');
$$;

comment on function rowcast._tells_truncate(rowcast.watched) is
    'Whether a truncate of the table can be told to anybody.';
