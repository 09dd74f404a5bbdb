-- What is sent where: one row a watched table. Columns are only ever added at its end, so that replacing it keeps its grants.
create or replace view rowcast.watches as
select w.target::pg_catalog.text as "table",
       w.channels,
       w.users,
       w.published as columns,
       w."except",
       w.ops,
       w.condition,
       w.old,
       w.log,
       w.captured as capture,
       w.wake,
       w.rls,
       array(select t.tgname::pg_catalog.text || case t.tgenabled when 'D' then ' (disabled)' when 'A' then ' (always)' when 'R' then ' (replica)' else '' end
               from pg_catalog.pg_trigger t
              where t.tgrelid = w.target
                and pg_catalog.starts_with(t.tgname::pg_catalog.text, 'rowcast_900_')
                and not t.tgisinternal
              order by t.tgname) as triggers,
       rowcast._drift(w.target) as drift
  from rowcast.watched w;

comment on view rowcast.watches is
    'What is sent where: one row a watched table, with its triggers and how it drifted from its watch.';
