-- An expression for the names of the watched columns that differ.
create or replace function rowcast._changed(w rowcast.watched, strict boolean)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format(E'array_remove(array[%s], null)',
                  string_agg(format('case when %s then %L::text end', rowcast._differs(w.target, n, strict), n), E',\n           ' order by place))
      from unnest(w.published) with ordinality u (n, place);
$$;

comment on function rowcast._changed(rowcast.watched, boolean) is
    'An expression for the names of the watched columns that differ.';
