-- The nth event (from 0) of one changed row, by a query of rowcast._rebuild_query: whole, else by its key alone. Writes nothing.
create or replace function rowcast._rebuilt(
    query text, names text[], numbers int[], needed text[], watched oid, relation oid, o record, n record, nth int
)
    returns record
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    filled constant text := rowcast._filled(query, names, numbers, needed, watched, relation,
                                             '($1)', ' where $1 is distinct from null', '($2)', ' where $2 is distinct from null');
    event  record;
    most   int8;
begin
    foreach most in array array[8388608, -1] loop
        begin
            execute format('%s offset %s limit 1', filled, nth)
               into event
              using n, o, left(nullif(current_setting('rowcast.user', true), ''), 200), left(nullif(current_setting('rowcast.origin', true), ''), 200), most;
            return event;
        exception when others then
            if most = -1 then
                raise;
            end if;
        end;
    end loop;
end;
$$;

comment on function rowcast._rebuilt(text, text[], int[], text[], oid, oid, record, record, int) is
    'One event of one changed row whose watch does not fit any more: whole, else by its key alone.';
