-- The statement that builds the event of a row which is the only one. source: of rowcast._built.
-- In a statement capture nothing is filtered: then one row in the answer is one row written, a second one or none is an exception, and
-- neither is looked for. Which old row belongs to which new one (pair) is a column for the same reason.
-- A plan that outlived the log fails here, where it fails nobody. A notify-only watch has the whole event built: it is sent as it is.
create or replace function rowcast._told_select(w rowcast.watched, op text, source text, pair text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select case
               when not w.log then rowcast._event_select(w, op, source, true, stands) || E'\n  into first;'
               when w.captured = 'row' then rowcast._built(w, op, source, true, rowcast._wanted(w, op, true) || stands) || E'\n  into built;'
               else rowcast._built(w, op, source, true, array[stands], coalesce('case when ' || pair || ' then ' || judged || ' end', judged),
                                   pair || ' as paired') || E'\n  into strict built;'
           end
      from rowcast._log_stands() stands
     cross join rowcast._judged(w, op) judged;
$$;

comment on function rowcast._told_select(rowcast.watched, text, text, text) is
    'The statement that builds the event of a single row.';
