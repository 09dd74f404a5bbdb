-- Checks what rowcast.watch was told and resolves it against the table as it is now.
create or replace function rowcast._definition(
    target    regclass,
    channels  text[],
    users     text[],
    columns   text[],
    "except"  text[],
    ops       text[],
    condition text,
    old       boolean,
    log       boolean,
    capture   text,
    wake      text,
    rls       boolean
)
    returns rowcast.watched
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    w        rowcast.watched;
    by_row   text;
    template text;
    wrong    text;
begin
    perform rowcast._refuse_target(target);

    w.target := target;
    w.name := (select format('%I.%I', n.nspname, c.relname)
                 from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = target);
    w.channels := coalesce(channels, array[(select c.relname::text from pg_class c where c.oid = target)]);
    w.users := users;
    w.columns := columns;
    w."except" := "except";
    w.ops := array(select o from unnest(array['insert', 'update', 'delete', 'truncate']) o where o = any (ops));
    w.condition := nullif(btrim(condition), '');
    w.old := old;
    w.log := log;
    w.capture := capture;
    w.wake := wake;
    w.rls := rls;

    if rls then
        raise exception 'rls => true is not built yet'
            using errcode = 'RC010', hint = 'Leave rls out and use users => … or policies to say who gets what.';
    end if;
    wrong := (select string_agg(a.name, ', ')
                from (values ('old', w.old is null), ('log', w.log is null), ('ops', ops is null),
                             ('capture', w.capture is null), ('wake', w.wake is null), ('rls', w.rls is null)) a (name, missing)
               where a.missing);
    if wrong is not null then
        raise exception 'null is no value for: %', wrong
            using errcode = 'RC009', hint = 'Leave the argument out to get its default.';
    end if;
    if w.capture not in ('auto', 'row', 'statement') or w.wake not in ('auto', 'poll') then
        raise exception 'capture is %, wake is %', quote_literal(w.capture), quote_literal(w.wake)
            using errcode = 'RC009', hint = 'capture is auto, row or statement; wake is auto or poll.';
    end if;
    if cardinality(w.ops) = 0 or not ops <@ w.ops then
        raise exception 'ops is %', quote_literal(ops::text)
            using errcode = 'RC009', hint = 'ops is an array of one or more of insert, update, delete, truncate.';
    end if;

    -- Columns.
    wrong := (select string_agg(quote_ident(n), ', ')
                from unnest(w.columns || w."except") n
               where not exists (select from rowcast._column c where c.target = target and c.name = n));
    if wrong is not null then
        raise exception 'table % has no column %', w.name, wrong
            using errcode = 'RC011', hint = 'Name the columns as they are in the table, without quotes. Virtual generated columns cannot be watched.';
    end if;
    w.published := array(select c.name from rowcast._column c
                          where c.target = target
                            and (w.columns is null or c.name = any (w.columns))
                            and (w."except" is null or c.name <> all (w."except"))
                          order by c.num);
    if cardinality(w.published) = 0 then
        raise exception 'no column of % is left to send', w.name
            using errcode = 'RC011', hint = 'Name fewer columns in "except", or some in columns.';
    end if;
    -- The primary key, else the replica identity's index, which cannot hold nulls either.
    w.key := array(select a.attname::text
                     from pg_index i
                     cross join unnest(i.indkey::int2[]) with ordinality k (num, place)
                     join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.num
                    where i.indexrelid = (select x.indexrelid from pg_index x
                                           where x.indrelid = target and (x.indisprimary or x.indisreplident) and x.indisvalid
                                           order by x.indisprimary desc limit 1)
                      and k.place <= i.indnkeyatts
                    order by k.place);

    -- Templates.
    if cardinality(w.channels) = 0 or cardinality(w.users) = 0 then
        raise exception 'an empty array of channels or users reaches nobody'
            using errcode = 'RC012', hint = 'Leave channels out for the table''s name; leave users out for everyone who may subscribe.';
    end if;
    foreach template in array w.channels loop
        perform rowcast._refuse_channel(regexp_replace(template, '\{[^{}]+\}', 'x', 'g'), template);
    end loop;
    if array_position(w.users, null) is not null then
        raise exception 'a user template is null' using errcode = 'RC012', hint = 'Write each as text, for example ''{user_id}''.';
    end if;
    wrong := (select string_agg(distinct quote_ident(m[1]), ', ')
                from unnest(w.channels || w.users) t
               cross join regexp_matches(t, '\{([^{}]+)\}', 'g') m
               where not exists (select from rowcast._column c where c.target = target and c.name = m[1]));
    if wrong is not null then
        raise exception 'a template names %, which table % does not have', wrong, w.name
            using errcode = 'RC012', hint = 'Write {column} with a column of the table.';
    end if;

    -- How.
    by_row := (select case
                   when c.relkind = 'p' or c.relispartition then 'it is partitioned, and a write straight to a partition fires no statement trigger of the table above'
                   when exists (select from pg_inherits i where target in (i.inhrelid, i.inhparent)) then 'it is part of an inheritance tree, whose tables fire each other''s statement triggers'
                   when cardinality(w.key) = 0 then 'it has neither primary key nor replica identity, so old and new rows of a statement cannot be paired'
               end
                 from pg_class c where c.oid = target);
    if w.capture = 'statement' and by_row is not null then
        raise exception 'table % cannot be captured by statement: %', w.name, by_row
            using errcode = 'RC013', hint = 'Leave capture out, or say capture => ''row''.';
    end if;
    if w.capture = 'statement' and not w.log then
        raise exception 'a notify-only watch of % cannot be captured by statement: each notification carries one row', w.name
            using errcode = 'RC013', hint = 'Leave capture out, or say capture => ''row''.';
    end if;
    w.captured := case when w.capture = 'row' or by_row is not null or not w.log then 'row' else 'statement' end;

    perform rowcast._refuse_condition(w);
    return w;
end;
$$;

comment on function rowcast._definition(regclass, text[], text[], text[], text[], text[], text, boolean, boolean, text, text, boolean) is
    'Checks what rowcast.watch was told and resolves it against the table as it is now.';
