-- Runs generated SQL on a table under a lock timeout: waiting for a lock would make every writer of the table wait behind it.
create or replace function rowcast._run(statements text, target regclass)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    waits constant text := current_setting('lock_timeout');
begin
    if waits = '0' then
        perform set_config('lock_timeout', '2s', true);
    end if;
    execute statements;
    perform set_config('lock_timeout', waits, true);
exception
    when lock_not_available then
        raise exception 'table % is in use: its lock was not to be had in %', target, case waits when '0' then '2s' else waits end
            using errcode = '55P03',
                  hint = 'Try again when no long transaction is using the table, or wait longer: set lock_timeout = ''30s''. pg_blocking_pids() names who is in the way.';
end;
$$;

comment on function rowcast._run(text, regclass) is
    'Runs generated SQL on a table under a lock timeout.';
