-- The statement that logs all rows of a statement by a query of rowcast._rebuild_query.
create or replace function rowcast._bulk(query text, names text[], numbers int[], needed text[], watched oid, relation oid)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select rowcast._log_columns() || E'\n'
           || rowcast._filled(query, names, numbers, needed, watched, relation, 't', ' from new_rows t', 't', ' from old_rows t');
$$;

comment on function rowcast._bulk(text, text[], int[], text[], oid, oid) is
    'The statement that logs all rows of a statement whose watch does not fit any more.';
