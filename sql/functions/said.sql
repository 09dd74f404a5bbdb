-- The expression for what the writer said of itself in one of the settings rowcast.user and rowcast.origin.
create or replace function rowcast._said(setting text)
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select format('left(nullif(current_setting(%L, true), ''''), 200)', 'rowcast.' || setting);
$$;

comment on function rowcast._said(text) is
    'The expression for what the writer said of itself in a setting.';
