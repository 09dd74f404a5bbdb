-- The end of a capture function that has logged something: wakes the daemon if it sleeps.
create or replace function rowcast._wake_up()
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select $text$    -- The daemon holds this lock while it sleeps; awake it reads the log anyway. Nothing waits here.
    -- The block keeps a full lock table from being the writer's problem; it writes nothing, so it takes no transaction id.
    if logged then
        begin
            if not pg_try_advisory_xact_lock_shared(32210705904137076) and pg_notification_queue_usage() < 0.5 then
                perform pg_notify('rowcast', '');
            end if;
        exception when others then
            raise warning 'rowcast: the daemon could not be woken: %', sqlerrm;
        end;
    end if;
$text$;
$$;

comment on function rowcast._wake_up() is
    'The end of a capture function: wakes the daemon if it sleeps.';
