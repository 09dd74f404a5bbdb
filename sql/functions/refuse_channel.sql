create or replace function rowcast._refuse_channel(channel text, written text)
    returns void
    language plpgsql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
begin
    if channel is null
       or channel !~ '^[A-Za-z0-9_.@-]+(:[A-Za-z0-9_.@-]+)*$'
       or octet_length(channel) > 200
       or channel ~ '^rowcast' then
        raise exception 'channel % is not a channel name', coalesce(quote_literal(written), 'null')
            using errcode = 'RC012',
                  hint = 'Segments of letters, digits and _ - . @ joined by ":", 200 bytes at most, not beginning with rowcast.';
    end if;
end;
$$;

comment on function rowcast._refuse_channel(text, text) is
    'Refuses a channel that the protocol could not name.';
