-- The columns of one side of a change as JSON, from what rowcast._picked brings; null where one of them is larger than most bytes.
create or replace function rowcast._image(target regclass, name text, side text, columns text[], most text, strict boolean)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- This keeps from being built what is far too large; how large the JSON is shows once it is there.
    select case
               when most is null or sizes is null then json
               else format('case when %s > %s then null else %s end', case when several then 'greatest(' || sizes || ')' else sizes end, most, json)
           end
      from (select string_agg(bytes, ', ' order by place), count(bytes) > 1, format('row_to_json(%I.*)', _image.name)
              from unnest(columns) with ordinality u (n, place)
              left join rowcast._column c on c.target = _image.target and c.name = n
              -- octet_length and pg_column_size read the size off the TOAST pointer and fetch nothing.
             cross join format(case when strict then c.size else 'pg_column_size(%s)' end, format('%I.%I', side, n)) f (formatted)
             cross join nullif(formatted, '') b (bytes)) measured (sizes, several, json);
$$;

comment on function rowcast._image(regclass, text, text, text[], text, boolean) is
    'The columns of one side of a change as JSON.';
