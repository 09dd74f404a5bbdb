-- Every column a capture function reads: sent, key, in a template, or perhaps in the condition.
create or replace function rowcast._used(w rowcast.watched)
    returns text[]
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select array(select c.name
                   from rowcast._column c
                  where c.target = w.target
                    and (c.name = any (w.published || w.key || rowcast._named(w.channels || w.users))
                         or position(c.name in w.condition) > 0)
                  order by c.num);
$$;

comment on function rowcast._used(rowcast.watched) is
    'Every column a capture function reads.';
