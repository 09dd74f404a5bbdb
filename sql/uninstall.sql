-- Takes rowcast out of this database: every trigger it put on a table, the schema with its log, and the role rowcast_owner when no other
-- database has anything of its. Events that nobody has read yet are gone. Run it in one transaction:
--     psql -d app -1 -v ON_ERROR_STOP=1 -f sql/uninstall.sql
do $$
begin
    if pg_catalog.current_setting('lock_timeout') = '0' then
        perform pg_catalog.set_config('lock_timeout', '2s', true);
    end if;

    -- A trigger goes with the function it runs, on whoever's table it is: nothing else of rowcast is outside the schema.
    drop schema if exists rowcast cascade;

    -- Roles belong to the whole cluster: this one stays while another database needs it, or where the caller may not drop it.
    if exists (select from pg_catalog.pg_roles where rolname = 'rowcast_owner') then
        begin
            drop role rowcast_owner;
        exception
            when dependent_objects_still_exist then
                raise notice 'the role rowcast_owner stays: another database uses it';
            when insufficient_privilege then
                raise notice 'the role rowcast_owner stays: % may not drop it', current_user;
        end;
    end if;
exception
    when lock_not_available then
        raise exception 'a watched table is in use: its lock was not to be had in time'
            using errcode = '55P03', hint = 'Try again when no long transaction is using it, or wait longer: set lock_timeout = ''30s''.';
end;
$$;
