-- Says once a transaction that a watch does not fit its table any more.
create or replace function rowcast._warn(name text, op text, problem text)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    if current_setting('rowcast.warned', true) is distinct from 'yes' then
        perform set_config('rowcast.warned', 'yes', true);
        raise warning 'rowcast: a change was captured only as far as possible'
            using errcode = 'RC090',
                  detail = format('%s of %s: %s', op, name, problem),
                  hint = 'select * from rowcast.watches shows the drift; select rowcast.watch(…) again mends it.';
    end if;
end;
$$;

comment on function rowcast._warn(text, text, text) is
    'Says once a transaction that a watch does not fit its table any more.';
