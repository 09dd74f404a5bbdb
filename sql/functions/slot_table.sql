-- The partition that is a slot of the log; null where somebody dropped it.
create or replace function rowcast._slot_table(slot smallint)
    returns regclass
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select to_regclass(format('rowcast.event_%s', case when slot < 0 then 'default' else slot::text end));
$$;

comment on function rowcast._slot_table(smallint) is
    'The partition that is a slot of the log.';
