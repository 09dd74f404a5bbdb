-- A query of rowcast._rebuild_query with its two sides filled in from the columns that are left.
create or replace function rowcast._filled(
    query text, names text[], numbers int[], needed text[], watched oid, relation oid,
    new_prefix text, new_from text, old_prefix text, old_from text
)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format(query,
                  concat('select ', rowcast._surviving(names, numbers, needed, watched, relation, new_prefix), new_from),
                  concat('select ', rowcast._surviving(names, numbers, needed, watched, relation, old_prefix), old_from));
$$;

comment on function rowcast._filled(text, text[], int[], text[], oid, oid, text, text, text, text) is
    'A query of rowcast._rebuild_query with its two sides filled in.';
