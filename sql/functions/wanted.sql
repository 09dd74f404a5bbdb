-- The conditions under which a change is told to anybody.
create or replace function rowcast._wanted(w rowcast.watched, op text, strict boolean)
    returns text[]
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select array_remove(array[
               case when op = 'update' then rowcast._differing(w, strict) end,
               case when not exists (select from unnest(w.channels) t where t !~ '\{') then
                   format('cardinality(%s) > 0',
                          rowcast._audience(w, w.channels, case op when 'insert' then array['new'] when 'delete' then array['old']
                                                                   else array['new', 'old'] end, true, strict))
               end,
               '(' || w.condition || ')'], null);
$$;

comment on function rowcast._wanted(rowcast.watched, text, boolean) is
    'The conditions under which a change is told to anybody.';
