-- What rowcast.unwatch would run, as text that psql can run as it is.
create or replace function rowcast.unwatch_sql(target regclass)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select concat(string_agg(rowcast._unwatch_statements(target, (select format('%I.%I', n.nspname, c.relname)
                                                                     from pg_class c join pg_namespace n on n.oid = c.relnamespace
                                                                    where c.oid = target), op), '' order by op))
           || format(E'delete from rowcast.watched where target = %s;\n', target::oid)
      from unnest(array['insert', 'update', 'delete', 'truncate']) op;
$$;

comment on function rowcast.unwatch_sql(regclass) is
    'What rowcast.unwatch would run, as text.';
