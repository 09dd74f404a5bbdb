-- One side of a change as the generator of capture functions reads it: the row itself, and where a column's type is a stranger's
-- a row that shows it without the stranger's help. source: the transition table, or null for the trigger's own variable.
create or replace function rowcast._side(w rowcast.watched, side text, source text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select case
               when bool_and(c.trusted) then source || ' ' || side
               else concat('(select ', string_agg(format('%s as %I', case when c.trusted then v.value else rowcast._shown(v.value, c.type) end, c.name),
                                                   ', ' order by c.num),
                           ' from ' || source || ' ' || side, ') ', side)
           end
      from rowcast._column c
     cross join format('%I.%I', side, c.name) v (value)
     where c.target = w.target
       and c.name = any ((select rowcast._used(w))::text[]);   -- asked once, not for each column
$$;

comment on function rowcast._side(rowcast.watched, text, text) is
    'One side of a change as the generator of capture functions reads it.';
