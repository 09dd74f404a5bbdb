-- The conditions of rowcast._wanted as they are asked of what rowcast._told_select built; null where a row is wanted in any case.
create or replace function rowcast._asked(w rowcast.watched, op text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select case
               when w.captured = 'row' then 'found'
               else nullif(concat_ws(' and ',
                        case when rowcast._judged(w, op) is not null then 'built.wanted' end,
                        case when op = 'update' and rowcast._named(w.channels || w.users) <@ w.published then 'cardinality(built.changed) > 0' end,
                        case when not exists (select from unnest(w.channels) t where t !~ '\{') then 'cardinality(built.channels) > 0' end), '')
           end;
$$;

comment on function rowcast._asked(rowcast.watched, text) is
    'The conditions of a watch as they are asked of what was built.';
