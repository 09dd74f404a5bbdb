-- The condition under which one side of an event, row or old, or both, is small enough to go out whole; null where that is certain.
-- variable holds what rowcast._built brought, where null is what was too large to be built at all. pg_column_size counts four bytes of
-- its own, and spares the two copies of a cast to text.
create or replace function rowcast._fits(w rowcast.watched, op text, sides text[], variable text, most text, strict boolean)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select string_agg(format('pg_column_size(%I.%I) <= %s', variable, side, case when strict then (most::int + 4)::text else most || ' + 4' end), ' and ')
      from unnest(rowcast._telling(w, op)) side
     where side = any (sides)
       and (not strict or exists (select from rowcast._column c
                                   where c.target = w.target and c.name = any (w.published) and c.size is not null));
$$;

comment on function rowcast._fits(rowcast.watched, text, text[], text, text, boolean) is
    'The condition under which a side of an event is small enough to go out whole.';
