-- Writes down where the ring is. The turn itself is the sequence, which no rollback takes back: this follows it one round later, so that the
-- transaction that closes a slot began after everyone who was told to write there.
create or replace function rowcast._slot_follow()
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    here   constant bigint := pg_sequence_last_value('rowcast.event_slot_seq');
    seen   constant timestamptz := clock_timestamp();
    astray constant xid8 := rowcast._slot_newest(-1::smallint);
begin
    if not exists (select from rowcast.slot where turn = here) then
        update rowcast.slot
           set closed_at = seen, closed_xid = pg_current_xact_id()
         where closed_at is null;
        insert into rowcast.slot (slot, turn, opened_at)
        values (here % 12, here, seen)
            on conflict (slot) do update
           set turn = here, opened_at = seen, closed_at = null, closed_xid = null, settled_at = null;
    end if;

    -- The default partition holds what an older version logged and what came while a slot was missing: closed anew as long as something comes.
    if astray is not null and not exists (select from rowcast.slot where slot = -1 and (closed_xid > astray or astray >= pg_snapshot_xmax(pg_current_snapshot()))) then
        insert into rowcast.slot (slot, turn, opened_at, closed_at, closed_xid)
        values (-1, -1, seen, seen, pg_current_xact_id())
            on conflict (slot) do update
           set closed_at = seen, closed_xid = excluded.closed_xid, settled_at = null;
    end if;
end;
$$;

comment on function rowcast._slot_follow() is
    'Writes down which slot of the log is written to, and which were closed.';
