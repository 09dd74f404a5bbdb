-- The expression for what the writer said of itself in one of the settings rowcast.user and rowcast.origin. A setting that was made for
-- one transaction is empty in the next one: who reads the log takes that for nothing, so that no write pays for it.
create or replace function rowcast._said(setting text)
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select format('left(current_setting(%L, true), 200)', 'rowcast.' || setting);
$$;

comment on function rowcast._said(text) is
    'The expression for what the writer said of itself in a setting.';
