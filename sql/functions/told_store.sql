-- What a capture function does once a single row is told: logs, or for a notify-only watch sends, what rowcast._told_select built. What is
-- returned means nothing; to return a variable costs less than an expression, be it null.
create or replace function rowcast._told_store(w rowcast.watched, op text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format(E'    if told then\n%s        return new;\n    end if;', case when not w.log then rowcast._store(w, 'first') else
           format(E'        insert into rowcast.event ("table", op, "user", origin, %s)\n        values (%L, %L, %s, %s, %s);\n',
                  string_agg(format('%I', c), ', ' order by place),
                  w.name, op, rowcast._said('user'), rowcast._said('origin'),
                  string_agg(v, ', ' order by place)) end)
      from (select c, place, case
                       when c = any (telling) then format('built.%I', c)
                       when c = 'channels' then rowcast._audience(w, w.channels, array['new'], true, true)
                       when c = 'key' and op = 'delete' then 'built.old'
                       when c = 'key' then 'built."row"'
                       when c = 'old' and op = 'delete' then 'built.key'
                   end as v
              from rowcast._telling(w, op) telling
             cross join unnest(array['channels', 'users', 'key', 'row', 'old', 'changed']) with ordinality u (c, place)) told
     where v is not null;
$$;

comment on function rowcast._told_store(rowcast.watched, text) is
    'What a capture function does once a single row is told.';
