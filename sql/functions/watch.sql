-- Watches a table: every change of its rows becomes an event. Replaces an older watch of the table.
create or replace function rowcast.watch(
    target    regclass,
    channels  text[]  default null,
    users     text[]  default null,
    columns   text[]  default null,
    "except"  text[]  default null,
    ops       text[]  default array['insert', 'update', 'delete', 'truncate'],
    condition text    default null,
    old       boolean default false,
    log       boolean default true,
    capture   text    default 'auto',
    wake      text    default 'auto',
    rls       boolean default false
)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    perform rowcast._refuse_target(target);
    perform rowcast._refuse_caller(target);
    perform rowcast._run(rowcast.watch_sql(target, channels, users, columns, "except", ops, condition, old, log, capture, wake, rls), target);
end;
$$;

comment on function rowcast.watch(regclass, text[], text[], text[], text[], text[], text, boolean, boolean, text, text, boolean) is
    'Watches a table: every change of its rows becomes an event. Replaces an older watch of the table.';
