-- Which of the columns a watch reads are still there, as a select list that gives null for the others.
-- A renamed column is found by its number, and goes on under its old name until the table is watched again; in a partition, whose
-- numbers may differ, by its name.
create or replace function rowcast._surviving(names text[], nums int[], needed text[], watched oid, relation oid, prefix text)
    returns text
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    list text;
    lost text[];
begin
    select string_agg(case when a.attname is null then format('null::text as %I', u.name)
                           when t.typnamespace = 'pg_catalog'::regnamespace then format('%s.%I as %I', prefix, a.attname, u.name)
                           else format('%s as %I', rowcast._shown(format('%s.%I', prefix, a.attname), a.atttypid), u.name) end, ', ' order by u.place),
           array_agg(u.name) filter (where a.attname is null)
      into list, lost
      from unnest(names, nums) with ordinality u (name, num, place)
      left join pg_attribute a on a.attrelid = relation
                              and a.attnum > 0
                              and not a.attisdropped
                              and case when relation = watched then a.attnum = u.num else a.attname = u.name end
      left join pg_type t on t.oid = a.atttypid;
    if lost && needed then
        raise exception 'a key column is gone';
    end if;
    return list;
end;
$$;

comment on function rowcast._surviving(text[], int[], text[], oid, oid, text) is
    'Which of the columns a watch reads are still there, as a select list.';
