-- Declarations of the block in a capture function that rescues what does not fit the watch any more.
create or replace function rowcast._rescue_declarations(w rowcast.watched, op text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format($text$            query   constant text := %L;
            watched constant oid := %s;
            names   constant text[] := %L;
            numbers constant int[] := %L;
            needed  constant text[] := %L;
$text$,
                  rowcast._rebuild_query(w, op),
                  w.target::oid,
                  array_agg(c.name order by c.num),
                  array_agg(c.num order by c.num),
                  case op when 'update' then w.key else '{}' end)
      from rowcast._column c
     where c.target = w.target
       and c.name = any (rowcast._used(w));
$$;

comment on function rowcast._rescue_declarations(rowcast.watched, text) is
    'Declarations of the block in a capture function that rescues what does not fit the watch any more.';
