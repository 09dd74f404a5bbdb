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
