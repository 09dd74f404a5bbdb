-- The condition under which an update has changed anything that its event would show or that says whom it goes to.
create or replace function rowcast._differing(w rowcast.watched, strict boolean)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format('(%s)', string_agg(rowcast._differs(w.target, n, strict), E'\n        or ' order by c.size is not null, c.num))
      from rowcast._column c, unnest(array[c.name]) n
     where c.target = w.target and c.name = any (w.published || rowcast._named(w.channels || w.users));
$$;

comment on function rowcast._differing(rowcast.watched, boolean) is
    'The condition under which an update has changed anything of a row''s event.';
