-- What a capture function does once the event of a single row is built: the log gets it outside the block, where it takes no
-- transaction id of its own. A failure from here on is one of waking the daemon: told says so.
create or replace function rowcast._told(w rowcast.watched)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select E'            told := true;\n' || case when w.wake = 'auto' and w.log then rowcast._wake_up() else '' end;
$$;

comment on function rowcast._told(rowcast.watched) is
    'What a capture function does once the event of a single row is built.';
