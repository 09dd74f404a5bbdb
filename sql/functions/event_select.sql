-- The query that makes events out of the rows called new and old; everything rowcast sends of a table is decided here.
-- source: the from clause that brings new and old, or (select 1) one where they are the trigger's own variables.
-- strict: the columns are as they were when the table was watched; else nothing is taken for granted.
-- only_if: one more condition on the rows.
create or replace function rowcast._event_select(w rowcast.watched, op text, source text, strict boolean, only_if text default null)
    returns text
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    most     constant text := case when strict then '8388608' else '$5' end;     -- bytes of a row that still goes out whole
    sides    constant text[] := case op when 'insert' then array['new'] when 'delete' then array['old'] else array['new', 'old'] end;
    side     constant text := sides[1];
    keyless  constant boolean := cardinality(w.key) = 0;
    read_old constant boolean := op <> 'insert' and (w.old or (op = 'delete' and keyless));
    images   text := '';
    key      text;
    whole    text;
    differs  text;
    wanted   text[] := '{}';
    channels text := rowcast._audience(w, w.channels, sides, true, strict);
begin
    if 'new' = any (sides) then
        images := images || rowcast._image(w.target, 'after', 'new', w.published, most, strict);
    end if;
    if read_old then
        images := images || rowcast._image(w.target, 'before', 'old', w.published, most, strict);
    end if;
    if keyless then
        key := case side when 'new' then 'after.image' else 'before.image' end;
    else
        key := 'keyed.image';
        images := images || rowcast._image(w.target, 'keyed', side, w.key, null, strict);
    end if;
    -- Nothing but a size can make an image null.
    whole := concat_ws(' and ', case when 'new' = any (sides) then 'after.image is not null' end,
                                case when read_old then 'before.image is not null' end);

    if only_if is not null then
        wanted := wanted || only_if;
    end if;
    if op = 'update' then
        differs := (select string_agg(rowcast._differs(w.target, n, strict), E'\n        or ' order by c.size is not null, c.num)
                      from rowcast._column c, unnest(array[c.name]) n
                     where c.target = w.target and c.name = any (w.published || rowcast._named(w.channels || w.users)));
        wanted := wanted || format(E'(%s)', differs);
    end if;
    if not exists (select from unnest(w.channels) t where t !~ '\{') then
        wanted := wanted || format('cardinality(%s) > 0', channels);
    end if;
    if w.condition is not null then
        wanted := wanted || format('(%s)', w.condition);
        if op in ('insert', 'delete') then
            -- The side that is missing is a row of nulls to the condition.
            source := source || rowcast._missing_side(w, op, source);
        end if;
    end if;

    return format(
        E'select %s as "table",\n       %L as op,\n       %s as channels,\n       %s as users,\n       %s as key,\n'
        '       %s as "row",\n       %s as old,\n       %s as changed,\n'
        '       %s as "user",\n       %s as origin,\n       %s as truncated\n  from %s%s%s',
        quote_literal(w.name) || '::text',
        op,
        channels,
        coalesce(rowcast._audience(w, w.users, sides[1:1], false, strict), 'null::text[]'),
        key,
        case when 'new' = any (sides) then 'after.image' else 'null::json' end,
        case
            when op = 'delete' and w.old and not keyless then 'coalesce(before.image, keyed.image)'
            when op = 'delete' then key
            when read_old then 'before.image'
            else 'null::json'
        end,
        case op
            when 'update' then format('case when after.image is not null then %s end', rowcast._changed(w, strict))
            else 'null::text[]'
        end,
        case when strict then format('(select %s)', rowcast._said('user')) else '$3' end,
        case when strict then format('(select %s)', rowcast._said('origin')) else '$4' end,
        case
            when whole = '' or (strict and not exists (select from rowcast._column c
                                                        where c.target = w.target and c.name = any (w.published) and c.size is not null))
                then 'false'
            else format('not (%s)', whole)
        end,
        source, images,
        E'\n where ' || nullif(array_to_string(wanted, E'\n   and '), ''));
end;
$$;

comment on function rowcast._event_select(rowcast.watched, text, text, boolean, text) is
    'The query that makes events of one kind out of changed rows.';
