-- A slot ages from the moment when everybody who may have written to it has ended: what a long transaction commits late is kept as long as all else.
create or replace function rowcast._slot_settle()
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    unborn constant xid8 := pg_snapshot_xmax(pg_current_snapshot());
begin
    -- A dump brings transaction ids of another cluster, which this one may not reach in years. None of its own events is gone then.
    update rowcast.floor set xid = '0' where xid > unborn;
    update rowcast.slot set closed_xid = pg_current_xact_id() where closed_xid > unborn;

    update rowcast.slot
       set settled_at = clock_timestamp()
     where settled_at is null
       and closed_xid < pg_snapshot_xmin(pg_current_snapshot());
end;
$$;

comment on function rowcast._slot_settle() is
    'Notes which closed slots of the log nobody writes to any more.';
