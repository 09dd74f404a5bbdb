-- The SQL that ends the capture of one kind of write, where there is any. The function is the one its trigger runs: after a dump and
-- restore it bears the number that the table had before.
create or replace function rowcast._unwatch_statements(target regclass, name text, op text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select concat(
        (select format(E'drop trigger %I on %s;\n', t.tgname, name)
           from pg_trigger t
          where t.tgrelid = target and t.tgname = 'rowcast_900_' || op and not t.tgisinternal),
        rowcast._sweep_statements(target, op, null));
$$;

comment on function rowcast._unwatch_statements(regclass, text, text) is
    'The SQL that ends the capture of one kind of write.';
