-- Refusals say in one sentence what is wrong and, as their hint, what to do.
create or replace function rowcast._refuse_target(target regclass)
    returns void
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    kind text;
begin
    if target is null then
        raise exception 'no table is given' using errcode = 'RC002', hint = 'Name one: select rowcast.watch(''public.orders'');';
    end if;
    select case
               when n.nspname = 'rowcast' then 'belongs to rowcast itself'
               when n.nspname in ('pg_catalog', 'information_schema', 'pg_toast') then 'is a system table'
               when c.relpersistence = 't' then 'is a temporary table'
               when c.relkind = 'v' then 'is a view, which has no rows of its own to change'
               when c.relkind = 'm' then 'is a materialised view, which fires no triggers'
               when c.relkind = 'f' then 'is a foreign table, whose rows change elsewhere'
               when c.relkind not in ('r', 'p') then 'is no table'
           end
      into kind
      from pg_class c
      join pg_namespace n on n.oid = c.relnamespace
     where c.oid = target;
    if not found then
        raise exception 'there is no table with oid %', target::oid
            using errcode = 'RC002', hint = 'Name the table: select rowcast.watch(''public.orders'');';
    elsif kind is not null then
        raise exception '% % and cannot be watched', target, kind
            using errcode = 'RC003', hint = 'Watch the ordinary or partitioned table that holds the rows.';
    end if;
end;
$$;

comment on function rowcast._refuse_target(regclass) is
    'Refuses what cannot be watched.';
