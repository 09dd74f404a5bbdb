-- The statement that builds the event of a row which is the only one. source: of rowcast._built.
-- In a statement capture nothing is filtered: then one row in the answer is one row written, a second one or none is an exception, and
-- neither is looked for. Which old row belongs to which new one (pair) is a column for the same reason.
-- The two constants cost nothing at run time, but make a plan that outlived the log fail here, where it fails nobody.
create or replace function rowcast._told_select(w rowcast.watched, op text, source text, pair text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select case w.captured
               when 'row' then rowcast._built(w, op, source, true, rowcast._wanted(w, op, true) || stands) || E'\n  into built;'
               else rowcast._built(w, op, source, true, stands, coalesce('case when ' || pair || ' then ' || judged || ' end', judged),
                                   pair || ' as paired') || E'\n  into strict built;'
           end
      from (select array['''rowcast.event_default''::regclass is not null', '''rowcast.event_id_seq''::regclass is not null']) s (stands)
     cross join rowcast._judged(w, op) judged;
$$;

comment on function rowcast._told_select(rowcast.watched, text, text, text) is
    'The statement that builds the event of a single row.';
