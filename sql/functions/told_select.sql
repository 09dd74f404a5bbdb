-- The statement that builds the event of a row which is the only one, as a rule. query: of rowcast._event_select; rows: the transition
-- table, or null where the row is the trigger's own variable.
-- The two constants cost nothing at run time, but make a plan that outlived the log fail here, where it fails nobody.
create or replace function rowcast._told_select(w rowcast.watched, op text, query text, rows text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format(E'select %s%s\n  from (\n%s) e\n where ''rowcast.event_default''::regclass is not null\n   and ''rowcast.event_id_seq''::regclass is not null\n  into first;',
                  case when w.log then (select string_agg(format('e.%I', c), ', ' order by place)
                                          from unnest(rowcast._telling(w, op)) with ordinality u (c, place))
                       else 'e.*' end,
                  case when rows is not null then format(E',\n       exists (select from %s offset 1) as several', rows) end,
                  query);
$$;

comment on function rowcast._told_select(rowcast.watched, text, text, text) is
    'The statement that builds the event of a single row.';
