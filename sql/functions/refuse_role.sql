create or replace function rowcast._refuse_role(role name)
    returns void
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
begin
    if role is null or not exists (select from pg_roles r where r.rolname = role) then
        raise exception 'there is no role %', coalesce(quote_ident(role), 'null')
            using errcode = 'RC004', hint = format('Create it first: create role %s login;', coalesce(quote_ident(role), 'rowcast'));
    end if;
end;
$$;

comment on function rowcast._refuse_role(name) is
    'Refuses a role that does not exist.';
