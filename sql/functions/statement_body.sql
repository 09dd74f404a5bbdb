-- Captures all rows of a statement. One row is built as a row capture does it; more go into the log by one query, in a block that
-- costs the statement one transaction id and keeps an error from the writer.
create or replace function rowcast._statement_body(w rowcast.watched, op text)
    returns text
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    pair     constant text := case when op = 'update' then rowcast._paired(w, true) end;
    rows     constant text := case op when 'delete' then 'old_rows' else 'new_rows' end;
    before   constant text := rowcast._side(w, 'old', 'old_rows');
    after    constant text := rowcast._side(w, 'new', 'new_rows');
    query    constant text := rowcast._event_select(w, op, case op when 'insert' then after when 'delete' then before
                                                                   else format('%s join %s on %s', before, after, pair) end, true);
    many     text := rowcast._log_columns() || E'\n' || query || E';\n            logged := found;';
    orphan   text;
    removed  text;
    added    text;
    unpaired text;
begin
    if op = 'update' then
        -- What pairs nothing is a changed key or another audience: one row gone and another come.
        orphan := format('not exists (select from %s where %s)', after, pair);
        removed := rowcast._event_select(w, 'delete', before, true, orphan);
        added := rowcast._event_select(w, 'insert', after, true, format('not exists (select from %s where %s)', before, pair));
        many := concat_ws(E'\n', many, format('if exists (select from %s where %s) then', before, orphan),
                          rowcast._log_columns(), removed || ';', 'logged := logged or found;',
                          rowcast._log_columns(), added || ';', 'logged := logged or found;', 'end if;');
        unpaired := concat_ws(E'\n', removed, '  into first;', added, '  into second;');
    end if;
    return format($text$    begin
%1$s
    exception
        when too_many_rows then
            several := true;
        when no_data_found then
            -- No row at all, unless a condition of the watch says the same.
            several := exists (select from %2$s);
        when others then
            if told then
                raise warning 'rowcast: the daemon could not be woken: %%', sqlerrm;
            else
                first := null;
                second := null;
                problem := sqlerrm;
            end if;
    end;
%5$s
    if several then
        begin
%3$s
        exception when others then
            logged := false;
            problem := sqlerrm;
        end;
    end if;
%4$s$text$,
        rowcast._one_row(w, op, case op when 'update' then format('%s cross join %s', before, after) when 'insert' then after else before end,
                         pair, query, unpaired),
        rows, many, rowcast._statement_rescue(w, op), rowcast._told_store(w, op));
end;
$$;

comment on function rowcast._statement_body(rowcast.watched, text) is
    'The part of a capture function that makes events out of all rows of a statement.';
