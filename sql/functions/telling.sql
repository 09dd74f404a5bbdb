-- Which columns of an event are another with every row: what rowcast._built brings. The others are part of the statement that logs it,
-- because each one that is carried from the query that builds the event to that statement costs a write of one row more than anything
-- that is computed in it. A table without a key has its whole row for one; a delete has its key for the old row.
create or replace function rowcast._telling(w rowcast.watched, op text)
    returns text[]
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select array_remove(array[
               case when exists (select from unnest(w.channels) t where t ~ '\{') then 'channels' end,
               case when w.users is not null then 'users' end,
               case when cardinality(w.key) > 0 then 'key' end,
               case when op <> 'delete' then 'row' end,
               case when op <> 'insert' and (w.old or (op = 'delete' and cardinality(w.key) = 0)) then 'old' end,
               case when op = 'update' then 'changed' end], null);
$$;

comment on function rowcast._telling(rowcast.watched, text) is
    'Which columns of an event are another with every row.';
