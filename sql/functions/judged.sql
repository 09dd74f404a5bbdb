-- What of rowcast._wanted cannot be told by looking at what was built; null where nothing is.
create or replace function rowcast._judged(w rowcast.watched, op text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select nullif(concat_ws(' and ', case when op = 'update' and not rowcast._named(w.channels || w.users) <@ w.published then rowcast._differing(w, true) end,
                                     '(' || w.condition || ')'), '');
$$;

comment on function rowcast._judged(rowcast.watched, text) is
    'What of the conditions of a watch cannot be told by looking at what was built.';
