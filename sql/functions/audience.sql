-- The array of channels or users of an event; for an update those of the new row and those of the old one.
create or replace function rowcast._audience(w rowcast.watched, templates text[], sides text[], is_channel boolean, strict boolean)
    returns text
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    items    text[] := '{}';
    template text;
    fresh    text;
    stale    text;
    twice    boolean;
begin
    if templates is null then
        return null;
    end if;
    foreach template in array templates loop
        fresh := rowcast._template(w.target, template, sides[1], is_channel, strict);
        items := items || (fresh || '::text');
        if cardinality(sides) = 2 and template ~ '\{' then
            stale := rowcast._template(w.target, template, sides[2], is_channel, strict);
            items := items || format('case when %s is distinct from %s then %s end', stale, fresh, stale);
        end if;
    end loop;
    -- Two templates may come to one name only if they have as many segments and one's fixed beginning continues the other's.
    twice := exists (select from unnest(templates) with ordinality a (t, place)
                       join unnest(templates) with ordinality b (t, place) on a.place < b.place
                      where not is_channel
                         or (length(a.t) - length(replace(a.t, ':', '')) = length(b.t) - length(replace(b.t, ':', ''))
                             and (starts_with(a.t, split_part(b.t, '{', 1)) or starts_with(b.t, split_part(a.t, '{', 1)))));
    if not exists (select from unnest(templates) t where t ~ '\{') then
        return format('%L::text[]', array(select distinct t from unnest(templates) t));
    elsif twice then
        return format('array(select distinct c from unnest(array[%s]) c where c is not null)', array_to_string(items, ', '));
    else
        return format('array_remove(array[%s], null)', array_to_string(items, ', '));
    end if;
end;
$$;

comment on function rowcast._audience(rowcast.watched, text[], text[], boolean, boolean) is
    'The expression for the channels or users of an event.';
