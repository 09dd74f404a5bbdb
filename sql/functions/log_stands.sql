-- The condition that the log is there. It costs nothing at run time: the planner takes the two constants away. But a plan that outlived
-- the log is made anew, and fails.
create or replace function rowcast._log_stands()
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select E'''rowcast.event_default''::regclass is not null\n   and ''rowcast.event_id_seq''::regclass is not null'::text;
$$;

comment on function rowcast._log_stands() is
    'The condition that the log is there, which costs nothing at run time.';
