-- The expression for a value of a stranger's type that no cast or operator of the stranger gets hold of: its text, by the type's output
-- function; an array of such is an array of texts, and a composite is JSON of its columns. It prints in JSON as the value itself would.
create or replace function rowcast._shown(value text, type oid)
    returns text
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    t pg_type := (select x from pg_type x where x.oid = type);
begin
    if rowcast._trusted(type) then
        return value;
    elsif t.typtype = 'd' then
        return rowcast._shown(value, t.typbasetype);
    elsif t.typsubscript = 'array_subscript_handler'::regproc then
        return format('case when %1$s is not null then array(select %2$s from (select unnest(%1$s) as item) items) end',
                      value, rowcast._shown('items.item', t.typelem));
    elsif t.typtype = 'c' then
        return (select format('(select row_to_json(r.*) from (select %s where %s is distinct from null) r)',
                              string_agg(format('%s as %I', rowcast._shown(format('(%s).%I', value, a.attname), a.atttypid), a.attname),
                                         ', ' order by a.attnum), value)
                  from pg_attribute a
                 where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped);
    end if;
    return format('case when %1$s is not null then format(''%%s'', %1$s) end', value);
end;
$$;

comment on function rowcast._shown(text, oid) is
    'The expression for a value of a stranger''s type that no cast or operator of the stranger gets hold of.';
