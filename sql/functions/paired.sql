-- The condition under which an old and a new row are one row: equal keys, byte by byte, because that is what a client compares.
create or replace function rowcast._paired(w rowcast.watched, strict boolean)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select string_agg(case when strict and c.identical then format('old.%1$I = new.%1$I', n)
                           else format('row(old.%1$I)::record *= row(new.%1$I)::record', n) end,
                      ' and ' order by place)
      from unnest(w.key) with ordinality u (n, place)
      left join rowcast._column c on c.target = w.target and c.name = n;
$$;

comment on function rowcast._paired(rowcast.watched, boolean) is
    'The condition under which an old and a new row are one row.';
