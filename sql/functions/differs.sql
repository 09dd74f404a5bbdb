-- An expression that says whether a column differs between new and old.
create or replace function rowcast._differs(target regclass, name text, strict boolean)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select case
               when strict and c.comparable then format('new.%1$I is distinct from old.%1$I', name)
               -- Byte by byte: needs no operator of the type, which may live in any schema or not exist.
               else format('row(new.%1$I)::record *<> row(old.%1$I)::record', name)
           end
      from (select) one
      left join rowcast._column c on c.target = _differs.target and c.name = _differs.name;
$$;

comment on function rowcast._differs(regclass, text, boolean) is
    'An expression that says whether a column differs between new and old.';
