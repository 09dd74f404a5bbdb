-- Hands everything to rowcast_owner and takes everything from PUBLIC. Re-applied by each upgrade.
do $$
declare
    owner constant oid := 'rowcast_owner'::pg_catalog.regrole;
    item  text;
begin
    for item in
        select pg_catalog.format('alter %s %s owner to rowcast_owner',
                                 case c.relkind when 'v' then 'view' else 'table' end, c.oid::pg_catalog.regclass)
          from pg_catalog.pg_class c
         where c.relnamespace = 'rowcast'::pg_catalog.regnamespace
           and c.relkind in ('r', 'p', 'v')
           and c.relowner <> owner
        union all
        select pg_catalog.format('alter function %s owner to rowcast_owner', p.oid::pg_catalog.regprocedure)
          from pg_catalog.pg_proc p
         where p.pronamespace = 'rowcast'::pg_catalog.regnamespace
           and p.proowner <> owner
    loop
        execute item;
    end loop;
end;
$$;

revoke all on schema rowcast from public;
revoke all on all tables in schema rowcast from public;
revoke all on all sequences in schema rowcast from public;
revoke all on all functions in schema rowcast from public;

-- The daemons' roles, known by the key that only they may read: what a new version needs is granted by its upgrade.
do $$
declare
    daemon name;
begin
    for daemon in
        select distinct r.rolname
          from pg_catalog.pg_class c
         cross join pg_catalog.aclexplode(c.relacl) g
          join pg_catalog.pg_roles r on r.oid = g.grantee
         where c.oid = 'rowcast.identity'::pg_catalog.regclass
           and g.grantee <> c.relowner
    loop
        perform rowcast.grant_daemon(daemon);
    end loop;
end;
$$;
