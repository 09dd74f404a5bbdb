-- The newest transaction that wrote to a slot of the log; null where it is empty. Sorted, because 14 has no max(xid8).
create or replace function rowcast._slot_newest(slot smallint)
    returns xid8
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    newest xid8;
begin
    if rowcast._slot_table(slot) is not null then
        execute format('select xid from %s order by xid desc limit 1', rowcast._slot_table(slot)) into newest;
    end if;
    return newest;
end;
$$;

comment on function rowcast._slot_newest(smallint) is
    'The newest transaction that wrote to a slot of the log.';
