-- The same events by a query that takes no column for granted: {new}, {old} and {limit} are filled in when it is needed.
create or replace function rowcast._rebuild_query(w rowcast.watched, op text)
    returns text
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    pair constant text := rowcast._paired(w, false);
begin
    if op <> 'update' then
        return rowcast._event_select(w, op, case op when 'insert' then '{new} new' else '{old} old' end, false);
    elsif pair is null then
        return rowcast._event_select(w, op, '{old} old cross join {new} new', false);
    end if;
    return concat_ws(E'\nunion all\n',
        rowcast._event_select(w, 'update', '{old} old join {new} new on ' || pair, false),
        rowcast._event_select(w, 'delete', '{old} old', false, format('not exists (select from {new} new where %s)', pair)),
        rowcast._event_select(w, 'insert', '{new} new', false, format('not exists (select from {old} old where %s)', pair)));
end;
$$;

comment on function rowcast._rebuild_query(rowcast.watched, text) is
    'The events of one kind by a query that takes no column for granted.';
