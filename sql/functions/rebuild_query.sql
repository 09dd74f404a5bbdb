-- The same events by a query that takes no column for granted. It is a format for rowcast._filled, so that nothing in it but the two
-- places for the sides can be taken for one; $5 is how large a row may be.
create or replace function rowcast._rebuild_query(w rowcast.watched, op text)
    returns text
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    pair  constant text := rowcast._paired(w, false);
    sides constant text := concat_ws(E',\n     ', case when op <> 'delete' then 'new_side as (%1$s)' end,
                                                  case when op <> 'insert' then 'old_side as (%2$s)' end);
    query text;
begin
    if op <> 'update' then
        query := rowcast._event_select(w, op, case op when 'insert' then 'new_side new' else 'old_side old' end, false);
    elsif pair is null then
        query := rowcast._event_select(w, op, 'old_side old cross join new_side new', false);
    else
        query := concat_ws(E'\nunion all\n',
            rowcast._event_select(w, 'update', 'old_side old join new_side new on ' || pair, false),
            rowcast._event_select(w, 'delete', 'old_side old', false, format('not exists (select from new_side new where %s)', pair)),
            rowcast._event_select(w, 'insert', 'new_side new', false, format('not exists (select from old_side old where %s)', pair)));
    end if;
    return concat('with ', sides, E'\n', replace(query, '%', '%%'));
end;
$$;

comment on function rowcast._rebuild_query(rowcast.watched, text) is
    'The events of one kind by a query that takes no column for granted.';
