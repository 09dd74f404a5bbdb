-- Ends the watch of a table; does nothing where there is none. Takes the oid of a table that was dropped, too.
create or replace function rowcast.unwatch(target regclass)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    if target is null then
        raise exception 'no table is given' using errcode = 'RC002', hint = 'Name one: select rowcast.unwatch(''public.orders'');';
    end if;
    perform rowcast._refuse_caller(target);
    perform rowcast._run(rowcast.unwatch_sql(target), target);
end;
$$;

comment on function rowcast.unwatch(regclass) is
    'Ends the watch of a table; does nothing where there is none.';
