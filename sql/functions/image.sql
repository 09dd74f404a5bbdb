-- A lateral join that brings the columns of one side as JSON, or null where they would be larger than most bytes.
create or replace function rowcast._image(target regclass, name text, side text, columns text[], most text, strict boolean)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    with picked as (
        select string_agg(format('%I.%I', side, n), ', ' order by place) as list,
               -- octet_length and pg_column_size read the size off the TOAST pointer and fetch nothing.
               string_agg(format('coalesce(' || case when strict then c.size else 'pg_column_size(%s)' end || ', 0)::int8', format('%I.%I', side, n)),
                          ' + ' order by place) as size
          from unnest(columns) with ordinality u (n, place)
          left join rowcast._column c on c.target = _image.target and c.name = n
    )
    select case
               when most is null or size is null then
                   format(E'\n  left join lateral (select row_to_json(r.*) as image from (select %s) r) %I on true', list, name)
               else
                   format(E'\n  left join lateral (select row_to_json(r.*) as image from (select %s) r where %s <= %s offset 0) %I on octet_length(%I.image::text) <= %s',
                          list, size, most, name, name, most)
           end
      from picked;
$$;

comment on function rowcast._image(regclass, text, text, text[], text, boolean) is
    'A lateral join that brings the columns of one side of a change as JSON.';
