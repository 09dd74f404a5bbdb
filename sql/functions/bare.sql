-- What can be said of a change when nothing can be said of its rows: that it happened, to the channels that need no column.
-- Nothing where an audience or a condition cannot be judged: they fail closed.
create or replace function rowcast._bare(w rowcast.watched, op text)
    returns text
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    fixed constant text[] := array(select t from unnest(w.channels) t where t !~ '\{');
begin
    if cardinality(fixed) = 0 or w.users is not null or (w.condition is not null and op <> 'truncate') then
        return '    first := null;';
    end if;
    return format($text$    select %L::text as "table", %L as op, %L::text[] as channels, null::text[] as users, null::json as key, null::json as "row",
           null::json as old, null::text[] as changed, %s as "user", %s as origin, %L::boolean as truncated
      into first;$text$, w.name, op, fixed, rowcast._said('user'), rowcast._said('origin'), op <> 'truncate');
end;
$$;

comment on function rowcast._bare(rowcast.watched, text) is
    'An event without a row: a truncate, or a change whose rows cannot be read.';
