-- A notification's text with its signature: any role may NOTIFY any channel, so the daemon believes only what carries the key's.
create or replace function rowcast._signed(message text)
    returns text
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    key bytea := (select i.key from rowcast.identity i);
begin
    if key is null then
        raise exception 'rowcast.identity is empty';
    end if;
    return '1' || encode(substr(sha256(key || sha256(key || convert_to(message, 'UTF8'))), 1, 16), 'hex') || message;
end;
$$;

comment on function rowcast._signed(text) is
    'A notification''s text with its signature.';
