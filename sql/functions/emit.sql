-- Sends an event that is no row change, as part of the caller's transaction.
create or replace function rowcast.emit(channel text, event text, data json default null, users text[] default null)
    returns void
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    perform rowcast._refuse_channel(channel, channel);
    if event is null or event = '' or octet_length(event) > 200 or event in ('insert', 'update', 'delete', 'truncate') then
        raise exception 'event % is no name for an event', coalesce(quote_literal(event), 'null')
            using errcode = 'RC020', hint = 'Give 1 to 200 bytes of your own; insert, update, delete and truncate are for tables.';
    end if;
    if octet_length(data::text) > 8388608 then
        raise exception 'the data of an event is % bytes', octet_length(data::text)
            using errcode = 'RC021', hint = 'Send up to 8388608 bytes; store more in a table and send its key.';
    end if;

    insert into rowcast.event (op, channels, users, "row", "user", origin)
    values (event, array[channel], emit.users, data,
            left(nullif(current_setting('rowcast.user', true), ''), 200), left(nullif(current_setting('rowcast.origin', true), ''), 200));

    -- As in the capture functions: only a daemon that sleeps is woken.
    if not pg_try_advisory_xact_lock_shared(32210705904137076) and pg_notification_queue_usage() < 0.5 then
        perform pg_notify('rowcast', '');
    end if;
end;
$$;

comment on function rowcast.emit(text, text, json, text[]) is
    'Sends an event that is no row change, as part of the caller''s transaction.';
