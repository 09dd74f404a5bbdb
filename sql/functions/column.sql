-- Columns of a table as the generator of capture functions sees them.
create or replace view rowcast._column as
select a.attrelid as target,
       a.attnum::int as num,
       a.attname::text as name,
       -- A text conversion that holds for this very type: fails to plan, rather than lets anything through, once the column is retyped.
       case
           when b.oid in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) then 'int8out(%s)::text'
           when b.oid = 'uuid'::regtype then 'uuid_out(%s)::text'
       end as exact,
       -- A text conversion for any value; format() calls the type's output function, never a cast that somebody defined.
       case
           when b.typnamespace = 'pg_catalog'::regnamespace then '%s::text'
           else 'case when %1$s is not null then format(''%%s'', %1$s) end'
       end as printed,
       -- Equality of pg_catalog that two equal values also print alike under (save numeric and float, where it is near enough).
       b.typnamespace = 'pg_catalog'::regnamespace
           and (l.oid is null or l.collisdeterministic)
           and exists (select from pg_opclass o
                        where o.opcintype = case b.oid when 'varchar'::regtype then 'text'::regtype else b.oid end
                          and o.opcdefault
                          and o.opcmethod = (select m.oid from pg_am m where m.amname = 'btree')) as comparable,
       -- Equality under which equal values are the same bytes: what keys are paired by.
       b.oid in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'oid'::regtype, 'uuid'::regtype, 'bool'::regtype,
                 'text'::regtype, 'varchar'::regtype, 'bytea'::regtype, 'date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype)
           and (l.oid is null or l.collisdeterministic) as identical,
       -- How large the value is without fetching it from TOAST; null where it cannot be large.
       case
           when t.typlen > 0 then null
           when b.oid = 'numeric'::regtype then null
           when b.oid in ('varchar'::regtype, 'bpchar'::regtype) and a.atttypmod between 5 and 2000 then null
           when b.oid in ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype, 'bytea'::regtype) then 'octet_length(%s)'
           else 'pg_column_size(%s)'
       end as size,
       a.atttypid as type,
       -- Nobody but a superuser puts a type into pg_catalog; most are there.
       case when t.typnamespace = 'pg_catalog'::regnamespace then true else rowcast._trusted(t.oid) end as trusted
  from pg_attribute a
  join pg_type t on t.oid = a.atttypid
  join pg_type b on b.oid = case t.typtype when 'd' then t.typbasetype else t.oid end
  left join pg_collation l on l.oid = a.attcollation
 where a.attnum > 0
   and not a.attisdropped
   -- A virtual generated column is null in triggers.
   and a.attgenerated <> 'v';

comment on view rowcast._column is
    'Columns of a table as the generator of capture functions sees them: how to print, compare and measure each.';
