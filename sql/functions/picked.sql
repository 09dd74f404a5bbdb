-- A join that brings some columns of one side as a row of its own. It costs nothing at run time: the planner takes it apart, and what is
-- left is an expression.
create or replace function rowcast._picked(name text, side text, columns text[])
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select format(E'\n cross join lateral (select %s) %I', string_agg(format('%I.%I', side, n), ', ' order by place), _picked.name)
      from unnest(columns) with ordinality u (n, place);
$$;

comment on function rowcast._picked(text, text, text[]) is
    'A join that brings some columns of one side as a row of its own.';
