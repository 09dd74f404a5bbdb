-- What rowcast.watch would run, as text that psql can run as it is (best with --single-transaction).
create or replace function rowcast.watch_sql(
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
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select rowcast._watch_statements(rowcast._definition(target, channels, users, columns, "except", ops, condition, old, log, capture, wake, rls));
$$;

comment on function rowcast.watch_sql(regclass, text[], text[], text[], text[], text[], text, boolean, boolean, text, text, boolean) is
    'What rowcast.watch would run, as text.';
