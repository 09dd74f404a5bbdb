-- Wakes the daemon if it sleeps: it holds this lock then; awake it reads the log anyway. Nothing waits here.
-- Runs in a block of the capture function, because a full lock table is not the writer's problem.
create or replace function rowcast._wake_up()
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select $text$            if not pg_try_advisory_xact_lock_shared(32210705904137076) then
                if pg_notification_queue_usage() < 0.5 then
                    perform pg_notify('rowcast', '');
                end if;
            end if;
$text$::text;
$$;

comment on function rowcast._wake_up() is
    'The part of a capture function that wakes the daemon if it sleeps.';
