-- Captures one row: the events are built in a block that writes nothing, so that an error in it costs no transaction id and no write.
create or replace function rowcast._row_body(w rowcast.watched, op text)
    returns text
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    here  constant text := coalesce(nullif(concat_ws(' cross join ', case when op <> 'insert' then rowcast._side(w, 'old', null) end,
                                                                     case when op <> 'delete' then rowcast._side(w, 'new', null) end), ''),
                                    '(select 1) one');
    moved constant text := (select string_agg(case when c.identical then format('new.%1$I is distinct from old.%1$I', c.name)
                                                   else format('row(new.%1$I)::record *<> row(old.%1$I)::record', c.name) end, ' or ')
                              from rowcast._column c where c.target = w.target and c.name = any (w.key || rowcast._named(coalesce(w.users, '{}'))));
    build text := rowcast._one_row(w, op, here, null, rowcast._event_select(w, op, here, true));
begin
    if op = 'update' and moved is not null then
        -- A changed key, or another audience, is one row gone and another come.
        build := format(E'if %s then\n%s\n  into first;\n%s\n  into second;\nelse\n%s\nend if;',
                        moved,
                        rowcast._event_select(w, 'delete', here, true),
                        rowcast._event_select(w, 'insert', here, true),
                        build);
    end if;
    return format($text$    begin
%1$s
    exception when others then
        if told then
            raise warning 'rowcast: the daemon could not be woken: %%', sqlerrm;
        else
        declare
%4$s        begin
            first := null;
            perform rowcast._warn(%2$L, %3$L, sqlerrm);
            first := rowcast._rebuilt(query, names, numbers, needed, watched, tg_relid, %5$s, 0);
            second := rowcast._rebuilt(query, names, numbers, needed, watched, tg_relid, %5$s, 1);
        exception when others then
            second := null;
%6$s
        end;
        end if;
    end;
%7$s$text$,
        build, w.name, op, rowcast._rescue_declarations(w, op),
        case op when 'insert' then 'null, new' when 'delete' then 'old, null' else 'old, new' end,
        rowcast._bare(w, op),
        rowcast._told_store(w, op));
end;
$$;

comment on function rowcast._row_body(rowcast.watched, text) is
    'The part of a capture function that makes events out of one row.';
