-- Moves the ring on when the slot that is written to is old or large enough, and the next one is empty. Nobody waits: writers read the sequence.
-- By quarters of the time and sixths of the size, twelve slots are enough for both, the one written to and an empty one included.
create or replace function rowcast._slot_turn(keep interval, max_bytes bigint)
    returns boolean
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    here rowcast.slot;
begin
    select * into here from rowcast.slot where closed_at is null;
    if exists (select from rowcast.slot where slot = (here.turn + 1) % 12)
       or rowcast._slot_newest(here.slot) is null
       or (here.opened_at > clock_timestamp() - keep / 4 and rowcast._slot_bytes(here.slot) < max_bytes / 6) then
        return false;
    end if;
    -- Not nextval: a crash may skip 32 of its values.
    perform setval('rowcast.event_slot_seq', here.turn + 1);
    return true;
end;
$$;

comment on function rowcast._slot_turn(interval, bigint) is
    'Moves the ring of slots on when it is time.';
