-- What the slots that hold something take on disk, with their indexes.
create or replace function rowcast._slot_bytes(slot smallint default null)
    returns bigint
    language sql
    volatile
    set search_path = pg_catalog, pg_temp
as $$
    select coalesce(sum(pg_total_relation_size(rowcast._slot_table(s.slot))), 0)::bigint
      from rowcast.slot s
     where _slot_bytes.slot is null or s.slot = _slot_bytes.slot;
$$;

comment on function rowcast._slot_bytes(smallint) is
    'What one slot of the log, or all of them, take on disk.';
