-- A join that adds the side an insert or a delete does not have, as a row of nulls of the right types.
create or replace function rowcast._missing_side(w rowcast.watched, op text, source text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format(E'\n  left join (select %s%s) %s on false',
                  string_agg(format('%1$I.%2$I as %2$I', case op when 'insert' then 'new' else 'old' end, n), ', ' order by place),
                  case when source like '(select 1)%' then '' else ' from ' || source end,
                  case op when 'insert' then 'old' else 'new' end)
      from unnest(rowcast._used(w)) with ordinality u (n, place);
$$;

comment on function rowcast._missing_side(rowcast.watched, text, text) is
    'A join that adds the side an insert or a delete does not have, as a row of nulls.';
