-- What a capture function does with a row that is the only one: builds its event, in a block of the caller's, and says so by told; the
-- log gets it outside the block, where it takes no transaction id of its own. A failure behind told is one of waking the daemon.
-- source and pair: of rowcast._told_select; query: the whole event by rowcast._event_select, for a row that is too large;
-- unpaired: what is done instead where old and new row are two.
create or replace function rowcast._one_row(w rowcast.watched, op text, source text, pair text, query text, unpaired text default null)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select case
               when not w.log then concat_ws(E'\n', built, '        told := found;')
               when asked is null and fits is null then concat_ws(E'\n', built, tell)
               else concat_ws(E'\n', built,
                        E'        if built.paired is not true then\n' || unpaired,
                        concat(case when unpaired is null then '        if ' else '        elsif ' end, concat_ws(' and ', asked, fits), E' then\n', tell),
                        case when fits is not null then
                            concat(coalesce('        elsif ' || asked || ' then', '        else'), E'\n', query, E'\n  into first;') end,
                        '        end if;')
           end
      from rowcast._asked(w, op) asked
     cross join rowcast._fits(w, op, array['row', 'old'], 'built', '8388608', true) fits
     cross join rowcast._told_select(w, op, source, pair) built
     cross join concat(E'            told := true;\n', case when w.wake = 'auto' then rowcast._wake_up() end) tell;
$$;

comment on function rowcast._one_row(rowcast.watched, text, text, text, text, text) is
    'What a capture function does with a row that is the only one.';
