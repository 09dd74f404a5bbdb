-- The condition under which an old and a new row are one row: equal keys, byte by byte, because that is what a client compares,
-- and the same audience: whoever loses the row must not see the new one, so to them it is gone.
create or replace function rowcast._paired(w rowcast.watched, strict boolean)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select string_agg(case when strict and c.identical and is_key then format('old.%1$I = new.%1$I', n)
                           else format('row(old.%1$I)::record *= row(new.%1$I)::record', n) end,
                      ' and ' order by place)
      from (select k as n, true as is_key, place
              from unnest(w.key) with ordinality k (k, place)
             union all
            select k, false, cardinality(w.key) + place
              from unnest(rowcast._named(coalesce(w.users, '{}'))) with ordinality k (k, place)
             where k <> all (w.key)) u
      left join rowcast._column c on c.target = w.target and c.name = n;
$$;

comment on function rowcast._paired(rowcast.watched, boolean) is
    'The condition under which an old and a new row are one row.';
