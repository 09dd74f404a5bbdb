-- Empties a slot of the log that nobody writes to, and raises the floor with it; returns the bytes it took, null where somebody reads it now.
-- The lock is on this partition alone and never waited for: a lock that waits holds up whoever comes behind it.
create or replace function rowcast._slot_empty(slot smallint)
    returns bigint
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    part   constant regclass := rowcast._slot_table(slot);
    freed  constant bigint := rowcast._slot_bytes(slot);
    newest xid8;
begin
    if part is not null then
        execute format('lock table %s in access exclusive mode nowait', part);
        newest := rowcast._slot_newest(slot);
        update rowcast.floor f
           set xid = greatest(f.xid, least((newest::text::bigint + 1)::text::xid8, pg_snapshot_xmin(pg_current_snapshot()))),
               at = clock_timestamp()
         where newest is not null;
        execute format('truncate table %s', part);
    end if;
    delete from rowcast.slot s where s.slot = _slot_empty.slot;
    return freed;
exception
    when lock_not_available then
        return null;
end;
$$;

comment on function rowcast._slot_empty(smallint) is
    'Empties a slot of the log that nobody writes to, and raises the floor with it.';
