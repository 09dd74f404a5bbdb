-- The trigger function of one table and one kind of write, as text. What it runs for a change is fixed text: nothing is looked up per row.
-- Its first block builds the event of a row that is the only one, and what comes next logs it; the rest is for more rows and for trouble.
create or replace function rowcast._capture_function(w rowcast.watched, op text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format($text$create or replace function rowcast.%1$I()
    returns trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as %3$s%2$s%3$s;

alter function rowcast.%1$I() owner to rowcast_owner;
revoke all on function rowcast.%1$I() from public;
comment on function rowcast.%1$I() is %4$L;
$text$,
        rowcast._capture_name(w.target, op),
        body,
        -- A name or a condition may hold any text; none can hold the hash of what it is part of.
        case when position('$capture$' in body) = 0 then '$capture$' else format('$capture_%s$', md5(body)) end,
        format('Captures %s of %s for rowcast; written by rowcast.watch.', op, w.name))
      from (select format($text$
#variable_conflict use_column
declare
    built  record;
    first  record;
    second record;
    told   boolean;
    logged boolean;
%1$sbegin
%2$s
    if not first is null then
        %6$s%3$s    end if;
    if not second is null then
%4$s    end if;
%5$s    return null;
end;
$text$,
        case when op <> 'truncate' and w.captured = 'statement' then E'    several boolean;\n    problem text;\n    stored bigint;\n' else '' end,
        case
            when op = 'truncate' then rowcast._bare(w, op)
            when w.captured = 'row' then rowcast._row_body(w, op)
            else rowcast._statement_body(w, op)
        end,
        rowcast._store(w, 'first'),
        rowcast._store(w, 'second'),
        case when w.wake = 'auto' and w.log then format($text$    if logged then
        begin
%s        exception when others then
            raise warning 'rowcast: the daemon could not be woken: %%', sqlerrm;
        end;
    end if;
$text$, rowcast._wake_up()) else '' end,
        rowcast._silent(w))) b (body);
$$;

comment on function rowcast._capture_function(rowcast.watched, text) is
    'The trigger function of one table and one kind of write, as text.';
