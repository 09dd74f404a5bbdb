-- Captures TRUNCATE of one table: one event without a row. A truncate of a partition alone fires nothing in PostgreSQL.
--     psql -v table=public.orders -v channel=orders -f triggers/truncate.sql
\set ON_ERROR_STOP on
\if :{?channel} \else \set channel '' \endif

begin;
set local lock_timeout = '2s';
-- Looked up where the caller looks; after that nothing is found but by its schema.
select :'table'::regclass::oid as target \gset
set local search_path = pg_catalog, pg_temp;
select set_config('rowcast.install_table', :'target', true) is null
    or set_config('rowcast.install_channel', :'channel', true) is null as unset \gset

do $do$
declare
    target  constant regclass := current_setting('rowcast.install_table')::oid;
    name    constant text := (select format('%I.%I', n.nspname, c.relname)
                                from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = target);
    channel constant text := coalesce(nullif(current_setting('rowcast.install_channel'), ''),
                                      (select c.relname::text from pg_class c where c.oid = target));
    func    constant text := format('capture_%s_truncate', target::oid);
begin
    perform rowcast._refuse_target(target);
    perform rowcast._refuse_caller(target);
    perform rowcast._refuse_channel(channel, channel);

    execute format($sql$
create or replace function rowcast.%1$I()
    returns trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $capture$
begin
    if to_regclass('rowcast.event_default') is null or to_regclass('rowcast.event_id_seq') is null then
        raise warning 'rowcast: the log is missing, a change was not captured';
        return null;
    end if;
    insert into rowcast.event ("table", op, channels, "user", origin)
    values (%2$L, 'truncate', array[%3$L],
            left(nullif(current_setting('rowcast.user', true), ''), 200), left(nullif(current_setting('rowcast.origin', true), ''), 200));

    -- Only a daemon that sleeps is woken: it holds this lock then.
    begin
        if not pg_try_advisory_xact_lock_shared(32210705904137076) and pg_notification_queue_usage() < 0.5 then
            perform pg_notify('rowcast', '');
        end if;
    exception when others then
        raise warning 'rowcast: the daemon could not be woken: %%', sqlerrm;
    end;
    return null;
end;
$capture$
$sql$, func, name, channel);
    execute format('alter function rowcast.%I() owner to rowcast_owner', func);
    execute format('revoke all on function rowcast.%I() from public', func);
    execute format('comment on function rowcast.%I() is %L', func,
                   format('Captures truncate of %s for rowcast; written by triggers/truncate.sql.', name));
    execute format('create or replace trigger rowcast_900_truncate after truncate on %s for each statement execute function rowcast.%I()', name, func);
end;
$do$;
commit;
