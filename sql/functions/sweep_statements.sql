-- The SQL that drops the functions which captured one kind of write of a table, save the one to keep.
create or replace function rowcast._sweep_statements(target regclass, op text, keep text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select coalesce(string_agg(format(E'drop function rowcast.%I();\n', p.proname), '' order by p.proname), '')
      from pg_proc p
     where p.pronamespace = 'rowcast'::regnamespace
       and starts_with(p.proname, 'capture_')
       and p.proname is distinct from keep
       and (p.proname = rowcast._capture_name(target, op)
            or p.oid = (select t.tgfoid from pg_trigger t where t.tgrelid = target and t.tgname = 'rowcast_900_' || op and not t.tgisinternal));
$$;

comment on function rowcast._sweep_statements(regclass, text, text) is
    'The SQL that drops the functions which captured one kind of write of a table.';
