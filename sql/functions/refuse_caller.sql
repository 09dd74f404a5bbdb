create or replace function rowcast._refuse_caller(target regclass)
    returns void
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    name text := (select format('%I.%I', n.nspname, c.relname)
                    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = target);
begin
    if not pg_has_role(current_user, 'rowcast_owner', 'usage')
       or not pg_has_role(current_user, 'rowcast_owner',
                          case when current_setting('server_version_num')::int >= 160000 then 'set' else 'member' end) then
        raise exception 'the role % is not a member of rowcast_owner', current_user
            using errcode = 'RC001', hint = format('Run as whoever installed rowcast: grant rowcast_owner to %I;', current_user);
    end if;
    if not has_table_privilege(current_user, target, 'trigger') then
        raise exception 'the role % may not create triggers on %', current_user, name
            using errcode = 'RC001', hint = format('Run as the table''s owner: grant trigger on %s to %I;', name, current_user);
    end if;
end;
$$;

comment on function rowcast._refuse_caller(regclass) is
    'Refuses a caller who lacks a right, and says which grant mends it.';
