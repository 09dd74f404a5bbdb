-- The statement that logs, or for a notify-only watch sends, what rowcast._told_select built.
create or replace function rowcast._told_store(w rowcast.watched, op text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select case
               when not w.log then rowcast._store(w, 'first')
               else format(E'        insert into rowcast.event ("table", op, %s%s, "user", origin)\n        values (%L, %L, %s%s, %s, %s);\n',
                           case when not 'channels' = any (t) then 'channels, ' end, string_agg(format('%I', c), ', ' order by place),
                           w.name, op,
                           case when not 'channels' = any (t) then rowcast._audience(w, w.channels, array['new'], true, true) || ', ' end,
                           string_agg(format('first.%I', c), ', ' order by place),
                           rowcast._said('user'), rowcast._said('origin'))
           end
      from rowcast._telling(w, op) t
     cross join unnest(t) with ordinality u (c, place)
     group by t;
$$;

comment on function rowcast._told_store(rowcast.watched, text) is
    'The statement that logs or sends the event of a single row.';
