-- Which columns of an event are another with every row; the others are part of the statement that logs it, because each one that is
-- carried from the query that builds the event to that statement costs a write of one row more than anything that is computed in it.
create or replace function rowcast._telling(w rowcast.watched, op text)
    returns text[]
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select array_remove(array[
               case when exists (select from unnest(w.channels) t where t ~ '\{') then 'channels' end,
               case when w.users is not null then 'users' end,
               'key',
               case when op <> 'delete' then 'row' end,
               case when op = 'delete' or (op = 'update' and w.old) then 'old' end,
               case when op = 'update' then 'changed' end,
               'truncated'], null);
$$;

comment on function rowcast._telling(rowcast.watched, text) is
    'Which columns of an event are another with every row.';
