-- One channel or user template as an SQL expression over the row called alias.
-- strict: the columns are as they were when the table was watched; else nothing is taken for granted.
create or replace function rowcast._template(target regclass, template text, alias text, is_channel boolean, strict boolean)
    returns text
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    longest constant int := 200;   -- bytes of a channel name, as the protocol has it
    widest  constant int := 36;    -- a uuid; integers are shorter
    names   text[] := array(select m[1] from regexp_matches(template, '\{([^{}]+)\}', 'g') m);
    fixed   text[] := regexp_split_to_array(template, '\{[^{}]+\}');
    parts   text[] := '{}';
    checked int;
    room    int;
    col     rowcast._column;
    value   text;
begin
    select count(*) into checked
      from unnest(names) n
      left join rowcast._column c on c.target = _template.target and c.name = n
     where not strict or c.exact is null;
    room := longest - length(array_to_string(fixed, '')) - widest * (cardinality(names) - checked);

    for i in 1 .. cardinality(fixed) loop
        if fixed[i] <> '' then
            parts := parts || quote_literal(fixed[i]);
        end if;
        continue when i > cardinality(names);
        select * into col from rowcast._column c where c.target = _template.target and c.name = names[i];
        if strict and is_channel and col.exact is not null then
            parts := parts || format(col.exact, format('%I.%I', alias, names[i]));
            continue;
        end if;
        value := format(case when strict then col.printed else 'case when %1$s is not null then format(''%%s'', %1$s) end' end,
                        format('%I.%I', alias, names[i]));
        -- A ':' or any other byte would name somebody else's channel: such a value leaves the channel out.
        parts := parts || case
            when is_channel then format('substring(%s collate "C" from ''^[A-Za-z0-9_.@-]{1,%s}$'')',
                                        case when value like 'case %' then '(' || value || ')' else value end,
                                        case checked when 1 then room else longest end)
            else '(' || value || ')'
        end;
    end loop;

    value := array_to_string(parts, ' || ');
    if is_channel and (checked > 1 or 'rowcast' like fixed[1] || '%') and cardinality(names) > 0 then
        value := format('substring(%s from ''^(?!rowcast).{1,%s}$'')', value, longest);
    end if;
    return value;
end;
$$;

comment on function rowcast._template(regclass, text, text, boolean, boolean) is
    'One channel or user template as an SQL expression over a row; null where a value is null or unfit.';
