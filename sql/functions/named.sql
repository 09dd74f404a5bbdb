-- The columns that templates name.
create or replace function rowcast._named(templates text[])
    returns text[]
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select array(select distinct m[1] from unnest(templates) t cross join regexp_matches(t, '\{([^{}]+)\}', 'g') m);
$$;

comment on function rowcast._named(text[]) is
    'The columns that templates name.';
