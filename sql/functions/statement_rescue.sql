-- What a statement capture does when its query failed: the same by what is left of the columns, else row by row, else barely.
create or replace function rowcast._statement_rescue(w rowcast.watched, op text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format($text$    if problem is not null then
        %9$s        declare
%3$s            rows    refcursor;
            pair    record;
            fetched boolean := false;
        begin
            begin
                perform rowcast._warn(%1$L, %2$L, problem);
                begin
                    execute rowcast._bulk(query, names, numbers, needed, watched, tg_relid)
                      using null::text, null::text, %7$s, %8$s, 8388608::int8;
                    get diagnostics stored = row_count;
                exception when others then
                    stored := null;
                end;
                if stored is null then
                    open rows for execute rowcast._pairs(%2$L, names, numbers, needed, watched, tg_relid);
                end if;
            exception when others then
                stored := 0;
%4$s
            end;
            logged := coalesce(stored > 0, false);
            -- One row may fail, or all: each is built in a block of its own, which writes nothing, and is stored outside it.
            while stored is null loop
                fetched := false;
                begin
                    fetch rows into pair;
                    fetched := found;
                    first := null;
                    second := null;
                    if fetched then
                        first := rowcast._rebuilt(query, names, numbers, needed, watched, tg_relid, pair.o, pair.n, 0);
                        second := rowcast._rebuilt(query, names, numbers, needed, watched, tg_relid, pair.o, pair.n, 1);
                    end if;
                exception when others then
                    second := null;
%4$s
                end;
                exit when not fetched;
                if not first is null then
%5$s                end if;
                if not second is null then
%6$s                end if;
                first := null;
                second := null;
            end loop;
        end;
    end if;$text$,
        w.name, op,
        rowcast._rescue_declarations(w, op),
        rowcast._bare(w, op),
        rowcast._store(w, 'first'),
        rowcast._store(w, 'second'),
        rowcast._said('user'),
        rowcast._said('origin'),
        rowcast._silent(w));
$$;

comment on function rowcast._statement_rescue(rowcast.watched, text) is
    'What a statement capture does when its query failed.';
