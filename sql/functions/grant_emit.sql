-- Lets an application's role send events with rowcast.emit, and nothing else: it can neither use our trigger functions nor write the log.
create or replace function rowcast.grant_emit(role name)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    perform rowcast._refuse_role(role);
    execute format('grant usage on schema rowcast to %I', role);
    execute format('grant execute on function rowcast.emit(text, text, json, text[]) to %I', role);
end;
$$;

comment on function rowcast.grant_emit(name) is
    'Lets an application''s role send events with rowcast.emit.';
