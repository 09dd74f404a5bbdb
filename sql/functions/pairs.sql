-- The query that brings the rows of a statement one by one, o before and n after, as values of the table's own type.
create or replace function rowcast._pairs(op text, names text[], numbers int[], needed text[], watched oid, relation oid)
    returns text
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    type constant text := relation::regclass;
    keys text;
begin
    if op <> 'update' then
        return format('select %s as o, %s as n from %s t',
                      case op when 'delete' then 'row(t.*)' else 'null' end || '::' || type,
                      case op when 'insert' then 'row(t.*)' else 'null' end || '::' || type,
                      case op when 'insert' then 'new_rows' else 'old_rows' end);
    end if;
    keys := rowcast._surviving(names, numbers, needed, watched, relation, 't');
    return format('select old.image as o, new.image as n'
                  ' from (select row(t.*)::%1$s as image, %2$s from old_rows t) old'
                  ' full join (select row(t.*)::%1$s as image, %2$s from new_rows t) new on %3$s',
                  type, keys,
                  (select string_agg(format('row(old.%1$I)::record *= row(new.%1$I)::record', k), ' and ') from unnest(needed) k));
end;
$$;

comment on function rowcast._pairs(text, text[], int[], text[], oid, oid) is
    'The query that brings the rows of a statement one by one.';
