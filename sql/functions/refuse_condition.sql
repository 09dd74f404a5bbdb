create or replace function rowcast._refuse_condition(w rowcast.watched)
    returns void
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
begin
    if w.condition is null then
        return;
    end if;
    -- limit 0: parsed and planned, run on no row.
    execute format('select from %1$s new cross join %1$s old where (%2$s) limit 0', w.name, w.condition);
exception
    when insufficient_privilege then null;   -- the caller may not read the table; the generated function is checked by its first use
    when others then
        raise exception 'condition % does not hold as SQL on %: %', quote_literal(w.condition), w.name, sqlerrm
            using errcode = 'RC014', hint = 'It is a boolean expression over new.column and old.column, with anything outside pg_catalog written with its schema.';
end;
$$;

comment on function rowcast._refuse_condition(rowcast.watched) is
    'Refuses a condition that is no boolean expression over new and old.';
