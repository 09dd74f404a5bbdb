-- The SQL that ends the capture of one kind of write, where there is any.
create or replace function rowcast._unwatch_statements(target regclass, name text, op text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select case when exists (select from pg_trigger t
                              where t.tgrelid = target and t.tgname = 'rowcast_900_' || op and not t.tgisinternal)
                then format(E'drop trigger %I on %s;\n', 'rowcast_900_' || op, name) else '' end
        || case when exists (select from pg_proc p
                              where p.pronamespace = 'rowcast'::regnamespace and p.proname = rowcast._capture_name(target, op))
                then format(E'drop function rowcast.%I();\n', rowcast._capture_name(target, op)) else '' end;
$$;

comment on function rowcast._unwatch_statements(regclass, text, text) is
    'The SQL that ends the capture of one kind of write.';
