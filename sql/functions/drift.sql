-- How a table has moved away from its watch since, as a sentence; null where it has not.
-- Definer, so that the daemon's role needs no right on the application's tables to ask.
create or replace function rowcast._drift(target regclass)
    returns text
    language plpgsql
    stable
    security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    w       rowcast.watched;
    now_w   rowcast.watched;
    missing text;
begin
    select * into w from rowcast.watched x where x.target = _drift.target;
    if not found then
        return null;
    elsif not exists (select from pg_class c where c.oid = target) then
        return format('the table was dropped; run: select rowcast.unwatch(%s)', target::oid);
    end if;
    select string_agg(case when t.oid is null then 'trigger rowcast_900_' || op || ' is missing'
                           else 'trigger rowcast_900_' || op || ' is disabled' end, ', ')
      into missing
      from unnest(w.ops) op
      left join pg_trigger t on t.tgrelid = target and t.tgname = 'rowcast_900_' || op
     where (t.oid is null or t.tgenabled = 'D')
       and (op <> 'truncate' or rowcast._tells_truncate(w));
    if missing is not null then
        return missing || '; run rowcast.watch again, or alter table … enable trigger';
    end if;
    now_w := rowcast._definition(w.target, w.channels, w.users, w.columns, w."except", w.ops, w.condition, w.old, w.log, w.capture, w.wake, w.rls);
    if position(format('%L)', w.fingerprint) in rowcast._watch_statements(now_w)) = 0 then
        return case
            when now_w.name <> w.name then format('the table was called %s', w.name)
            when now_w.published <> w.published then format('its columns were %s', array_to_string(w.published, ', '))
            when now_w.key <> w.key then 'its key is another'
            else 'a column''s type, or rowcast itself, has changed'
        end || '; run rowcast.watch again';
    end if;
    return null;
exception when others then
    return sqlerrm || '; run rowcast.watch again';
end;
$$;

comment on function rowcast._drift(regclass) is
    'How a table has moved away from its watch since, as a sentence.';
