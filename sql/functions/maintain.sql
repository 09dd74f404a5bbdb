-- One round of retention: empties the slots of the log that are older than keep, and the oldest ones while all together are larger than
-- max_bytes. Every node calls it every few seconds; the lock on rowcast.slot makes one of them the leader for the round. It is no advisory
-- lock, because any role could hold that for ever; nobody else has a right on the table, and its readers go on.
create or replace function rowcast.maintain(keep interval, max_bytes bigint,
                                            out led boolean, out turned boolean, out removed int, out freed bigint, out bytes bigint, out waiting text)
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    set lock_timeout = '1s'
as $$
declare
    due  rowcast.slot;
    gone bigint;
begin
    if keep < interval '0' or max_bytes < 0 or keep is null or max_bytes is null then
        raise exception 'keep and max_bytes must not be negative'
            using errcode = 'RC009', hint = 'Such as: select * from rowcast.maintain(''24 hours'', 4294967296);';
    end if;
    led := true;
    turned := false;
    removed := 0;
    freed := 0;
    begin
        lock table rowcast.slot in share row exclusive mode nowait;
    exception
        when lock_not_available then
            led := false;
            return;
    end;

    perform rowcast._slot_settle();
    perform rowcast._slot_follow();
    loop
        bytes := rowcast._slot_bytes();
        select * into due
          from rowcast.slot s
         where s.closed_at is not null
           and (coalesce(s.settled_at, s.closed_at) < clock_timestamp() - keep or bytes > max_bytes)
         order by s.settled_at is null, s.turn
         limit 1;
        exit when not found;
        if due.settled_at is null then
            waiting := 'transactions that may have written to the log are still open';
            exit;
        end if;
        -- The daemon's own reads are over in milliseconds.
        for attempt in 1..5 loop
            gone := rowcast._slot_empty(due.slot);
            exit when gone is not null;
            perform pg_sleep(0.01);
        end loop;
        if gone is null then
            waiting := format('%s is being read', rowcast._slot_table(due.slot));
            exit;
        end if;
        removed := removed + 1;
        freed := freed + gone;
    end loop;
    turned := rowcast._slot_turn(keep, max_bytes);
end;
$$;

comment on function rowcast.maintain(interval, bigint) is
    'One round of retention: empties the parts of the log that are older than keep, and the oldest ones while it is larger than max_bytes.';
