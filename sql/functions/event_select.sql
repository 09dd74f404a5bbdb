-- The query that makes whole events of the rows called new and old, by their key alone where a row is too large.
-- source and strict are those of rowcast._built; only_if is one more condition on the rows.
create or replace function rowcast._event_select(w rowcast.watched, op text, source text, strict boolean, only_if text default null)
    returns text
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    most     constant text := case when strict then '8388608' else '$5' end;
    keyless  constant boolean := cardinality(w.key) = 0;
    telling  constant text[] := rowcast._telling(w, op);
    whole    constant text := rowcast._fits(w, op, array['row', 'old'], 'e', most, strict);
    after    constant text := coalesce('case when ' || rowcast._fits(w, op, array['row'], 'e', most, strict) || ' then e.%I end', 'e.%I');
    before   constant text := coalesce('case when ' || rowcast._fits(w, op, array['old'], 'e', most, strict) || ' then e.old else %s end', 'e.old');
begin
    return format(
        E'select %L::text as "table",\n       %L as op,\n       %s as channels,\n       %s as users,\n       %s as key,\n'
        '       %s as "row",\n       %s as old,\n       %s as changed,\n'
        '       %s as "user",\n       %s as origin,\n       %s as truncated\n  from (\n%s%s) e',
        w.name,
        op,
        case when 'channels' = any (telling) then 'e.channels' else rowcast._audience(w, w.channels, array['new'], true, true) end,
        case when 'users' = any (telling) then 'e.users' else 'null::text[]' end,
        case when not keyless then 'e.key' when op = 'delete' then format(before, 'null') else format(after, 'row') end,
        case when op <> 'delete' then format(after, 'row') else 'null::json' end,
        case
            when 'old' = any (telling) then format(before, case when op = 'delete' and not keyless then 'e.key' else 'null' end)
            when op = 'delete' then 'e.key'
            else 'null::json'
        end,
        case when op = 'update' then format(after, 'changed') else 'null::text[]' end,
        case when strict then format('(select %s)', rowcast._said('user')) else '$3' end,
        case when strict then format('(select %s)', rowcast._said('origin')) else '$4' end,
        case when whole is null then 'false' else format('(%s) is not true', whole) end,
        rowcast._built(w, op, source, strict, array_remove(only_if || rowcast._wanted(w, op, strict), null)),
        -- What was built is measured, not built again.
        case when whole is not null then E'\noffset 0' end);
end;
$$;

comment on function rowcast._event_select(rowcast.watched, text, text, boolean, text) is
    'The query that makes events of one kind out of changed rows.';
