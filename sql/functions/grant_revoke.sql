-- Lets an application's role revoke tokens with rowcast.revoke, and nothing else.
create or replace function rowcast.grant_revoke(role name)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    perform rowcast._refuse_role(role);
    execute format('grant usage on schema rowcast to %I', role);
    execute format('grant execute on function rowcast.revoke(text, text) to %I', role);
end;
$$;

comment on function rowcast.grant_revoke(name) is
    'Lets an application''s role revoke tokens with rowcast.revoke.';
