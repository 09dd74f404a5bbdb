-- Whether nobody but members of rowcast_owner can say what a value of this type is converted by: a type's owner may define casts of it,
-- and what runs inside a capture function runs as rowcast_owner. What a domain adds is looked through, by casts and operators alike.
create or replace function rowcast._trusted(type oid)
    returns boolean
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    with recursive part (type) as (
        select _trusted.type
         union
        select u.type
          from part p
          join pg_type t on t.oid = p.type
         cross join lateral (select t.typbasetype where t.typtype = 'd'
                              union all
                             select t.typelem where t.typtype <> 'd' and t.typsubscript = 'array_subscript_handler'::regproc
                              union all
                             select a.atttypid from pg_attribute a where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped) u (type))
    select bool_and(t.typtype = 'd' or pg_has_role(t.typowner, 'rowcast_owner', 'member'))
      from part p
      join pg_type t on t.oid = p.type;
$$;

comment on function rowcast._trusted(oid) is
    'Whether nobody but members of rowcast_owner can say what values of a type are converted by.';
