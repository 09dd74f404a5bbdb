-- Exactly the rights that the daemon's role needs; none on the application's tables.
create or replace function rowcast.grant_daemon(role name)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    perform rowcast._refuse_role(role);
    execute format('grant usage on schema rowcast to %I', role);
    execute format('grant select on rowcast.event, rowcast.event_id_seq, rowcast.event_slot_seq, rowcast.floor, rowcast.identity, rowcast.migration, rowcast.revocation, rowcast.slot, rowcast.watched, rowcast.watches to %I', role);
    execute format('grant execute on function rowcast.emit(text, text, json, text[]), rowcast.maintain(interval, bigint), rowcast._drift(regclass),
                                              rowcast._forget_revocations(interval), rowcast._ticket_issue(bytea, json, interval),
                                              rowcast._ticket_redeem(bytea) to %I', role);
end;
$$;

comment on function rowcast.grant_daemon(name) is
    'Exactly the rights that the daemon''s role needs.';
