-- Name of the function that captures one kind of write of one table.
create or replace function rowcast._capture_name(target regclass, op text)
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select format('capture_%s_%s', target::oid, op);
$$;

comment on function rowcast._capture_name(regclass, text) is
    'Name of the function that captures one kind of write of one table.';
