-- The query that builds of the rows called new and old what rowcast._telling names; everything rowcast sends of a table comes from here.
-- source: the from clause that brings new and old, or (select 1) one where they are the trigger's own variables.
-- strict: the columns are as they were when the table was watched; else nothing is taken for granted.
-- filter: conditions on the rows. judged: one that is answered in a column, wanted, instead; more: further columns.
create or replace function rowcast._built(
    w rowcast.watched, op text, source text, strict boolean, filter text[], judged text default null, more text default null
)
    returns text
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    most  constant text := case when strict then '8388608' else '$5' end;     -- bytes of a row that still goes out whole
    sides constant text[] := case op when 'insert' then array['new'] when 'delete' then array['old'] else array['new', 'old'] end;
    guard constant text := case when judged is null then '%s' else 'case when judged.wanted then %s end' end;
    items text[] := '{}';
    item  text;
begin
    if w.condition is not null and op in ('insert', 'delete') then
        -- The side that is missing is a row of nulls to the condition.
        source := source || rowcast._missing_side(w, op, source);
    end if;
    foreach item in array rowcast._telling(w, op) loop
        source := source || case item
            when 'key' then rowcast._picked('keyed', sides[1], w.key)
            when 'row' then rowcast._picked('after', 'new', w.published)
            when 'old' then rowcast._picked('before', 'old', w.published)
            else '' end;
        items := items || format('%s as %I', case item
            when 'channels' then rowcast._audience(w, w.channels, sides, true, strict)
            when 'users' then rowcast._audience(w, w.users, sides[1:1], false, strict)
            when 'key' then rowcast._image(w.target, 'keyed', sides[1], w.key, null, strict)
            when 'row' then format(guard, rowcast._image(w.target, 'after', 'new', w.published, most, strict))
            when 'old' then format(guard, rowcast._image(w.target, 'before', 'old', w.published, most, strict))
            when 'changed' then rowcast._changed(w, strict)
        end, item);
    end loop;
    if judged is not null then
        source := source || format(E'\n cross join lateral (select %s as wanted offset 0) judged', judged);
        items := items || 'judged.wanted'::text;
    end if;
    return format(E'select %s\n  from %s%s', array_to_string(items || more, E',\n       '), source,
                  E'\n where ' || nullif(array_to_string(filter, E'\n   and '), ''));
end;
$$;

comment on function rowcast._built(rowcast.watched, text, text, boolean, text[], text, text) is
    'The query that builds of changed rows what is another in each event.';
