create or replace function rowcast._refuse_condition(w rowcast.watched)
    returns void
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    nulls text;
begin
    if w.condition is null then
        return;
    end if;
    -- The table itself is not asked: to plan a query of it may run what its owner has put into its policies and checks.
    -- limit 0: parsed and planned, run on no row; offset 0: no null is taken for a constant, which planning would compute with.
    nulls := (select string_agg(format('%s as %I', case when c.trusted then n.null_of else rowcast._shown(n.null_of, c.type) end, c.name), ', ')
                from rowcast._column c
               cross join format('null::%s', format_type(c.type, null)) n (null_of)
               where c.target = w.target);
    execute format('select from (select %1$s offset 0) new cross join (select %1$s offset 0) old where (%2$s) limit 0', nulls, w.condition);
exception
    when insufficient_privilege then null;   -- a type or function is out of the caller's reach; the generated function is checked by its first use
    when others then
        raise exception 'condition % does not hold as SQL on %: %', quote_literal(w.condition), w.name, sqlerrm
            using errcode = 'RC014', hint = 'It is a boolean expression over new.column and old.column, with anything outside pg_catalog written with its schema.';
end;
$$;

comment on function rowcast._refuse_condition(rowcast.watched) is
    'Refuses a condition that is no boolean expression over new and old.';
