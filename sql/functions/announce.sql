-- Sends an event of a notify-only watch in the notification itself, signed; one that does not fit is parked in the log.
create or replace function rowcast._announce(e record)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    -- pg_notify refuses 8000 bytes; this leaves room for a server built with another limit nearby.
    most    constant int := 7900;
    id      bigint;
    payload text;
begin
    -- Without a log there is no replay: above half full the event is dropped rather than the queue risked.
    if pg_notification_queue_usage() >= 0.5 then
        return;
    end if;
    id := nextval('rowcast.event_id_seq');
    begin
        select row_to_json(r)::text
          into payload
          from (select id,
                       pg_current_xact_id()::text as xid,
                       to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at,
                       e."table", e.op, e.channels, e.users, e.key, e."row", e.old, e.changed, nullif(e."user", '') as "user",
                       nullif(e.origin, '') as origin, e.truncated) r;
        payload := rowcast._signed(payload);
        if octet_length(payload) < most then
            perform pg_notify('rowcast', payload);
            return;
        end if;
    exception when others then
        raise warning 'rowcast: an event of % could not be sent: %', e."table", sqlerrm;
        return;
    end;
    insert into rowcast.event (id, "table", op, channels, users, key, "row", old, changed, "user", origin, truncated, parked)
    values (id, e."table", e.op, e.channels, e.users, e.key, e."row", e.old, e.changed, e."user", e.origin, e.truncated, true);
    perform pg_notify('rowcast', rowcast._signed(format('{"parked":"%s","xid":"%s"}', id, pg_current_xact_id())));
end;
$$;

comment on function rowcast._announce(record) is
    'Sends an event of a notify-only watch in the notification itself, signed.';
