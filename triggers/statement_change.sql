-- Captures inserts, updates and deletes of one table statement by statement, without rowcast.watch:
--     psql -v table=public.orders -v channel=orders -f triggers/statement_change.sql
-- Optional: -v columns=id,status (which columns are sent; all).
-- Needs a primary key or replica identity, and a table that is neither partitioned nor in an inheritance tree; else take row_change.sql.
-- Needs the schema of sql/install.sql, and a role that owns the table and is a member of rowcast_owner.
\set ON_ERROR_STOP on
\if :{?columns} \else \set columns '' \endif
\if :{?channel} \else \set channel '' \endif

begin;
set local lock_timeout = '2s';
-- Looked up where the caller looks; after that nothing is found but by its schema.
select :'table'::regclass::oid as target \gset
set local search_path = pg_catalog, pg_temp;
select set_config('rowcast.install_table', :'target', true) is null
    or set_config('rowcast.install_channel', :'channel', true) is null
    or set_config('rowcast.install_columns', :'columns', true) is null as unset \gset

do $do$
#variable_conflict use_variable
declare
    target   constant regclass := current_setting('rowcast.install_table')::oid;
    name     constant text := (select format('%I.%I', n.nspname, c.relname)
                                 from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = target);
    channel  constant text := coalesce(nullif(current_setting('rowcast.install_channel'), ''),
                                       (select c.relname::text from pg_class c where c.oid = target));
    sent     constant text[] := array(
        select a.attname::text from pg_attribute a
         where a.attrelid = target and a.attnum > 0 and not a.attisdropped and a.attgenerated <> 'v'
           and (current_setting('rowcast.install_columns') = ''
                or a.attname = any (string_to_array(current_setting('rowcast.install_columns'), ',')))
         order by a.attnum);
    keys     constant text[] := array(
        select a.attname::text
          from pg_index i
         cross join unnest(i.indkey::int2[]) with ordinality k (num, place)
          join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.num
         where i.indexrelid = (select x.indexrelid from pg_index x
                                where x.indrelid = target and (x.indisprimary or x.indisreplident)
                                order by x.indisprimary desc limit 1)
           and k.place <= i.indnkeyatts
         order by k.place);
    -- A column whose type belongs to a stranger is shown without the stranger's casts.
    new_key  constant text := (select string_agg(format('%s as %I', rowcast._shown(format('n.%I', c.name), c.type), c.name), ', ' order by array_position(keys, c.name))
                                 from rowcast._column c where c.target = target and c.name = any (keys));
    old_key  constant text := (select string_agg(format('%s as %I', rowcast._shown(format('o.%I', c.name), c.type), c.name), ', ' order by array_position(keys, c.name))
                                 from rowcast._column c where c.target = target and c.name = any (keys));
    new_row  constant text := (select string_agg(format('%s as %I', rowcast._shown(format('n.%I', c.name), c.type), c.name), ', ' order by c.num)
                                 from rowcast._column c where c.target = target and c.name = any (sent));
    new_pair constant text := (select string_agg(format('n.%I', c), ', ') from unnest(keys) c);
    old_pair constant text := (select string_agg(format('o.%I', c), ', ') from unnest(keys) c);
    differs  constant text := (select string_agg(format('case when row(n.%1$I)::record *<> row(o.%1$I)::record then %1$L end', c), ', ')
                                 from unnest(sent) c);
    func     text;
    op       text;
begin
    perform rowcast._refuse_target(target);
    perform rowcast._refuse_caller(target);
    perform rowcast._refuse_channel(channel, channel);
    if position('$capture$' in concat(name, sent, keys)) > 0 then
        raise exception 'a name of % holds $capture$, which ends the text of a function here', name
            using errcode = 'RC011', hint = 'Take rowcast.watch, or name other columns.';
    end if;
    if sent = '{}' then
        raise exception 'none of these columns is in %: %', name, current_setting('rowcast.install_columns')
            using errcode = 'RC011', hint = 'Name columns as they are in the table, joined by commas.';
    elsif keys = '{}' or exists (select from pg_class c where c.oid = target and (c.relkind = 'p' or c.relispartition))
       or exists (select from pg_inherits i where target in (i.inhrelid, i.inhparent)) then
        raise exception 'table % cannot be captured by statement: it is partitioned, inherits or has no key', name
            using errcode = 'RC013', hint = 'Take triggers/row_change.sql.';
    end if;

    foreach op in array array['insert', 'update', 'delete'] loop
        func := format('capture_%s_%s', target::oid, op);
        execute format($sql$
create or replace function rowcast.%1$I()
    returns trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $capture$
declare
    writer constant text := left(nullif(current_setting('rowcast.user', true), ''), 200);
    origin constant text := left(nullif(current_setting('rowcast.origin', true), ''), 200);
    logged boolean;
begin
    if to_regclass('rowcast.event_default') is null or to_regclass('rowcast.event_id_seq') is null then
        raise warning 'rowcast: the log is missing, a change was not captured';
        return null;
    end if;

    -- The block keeps an error from the writer, for one transaction id a statement.
    begin
        insert into rowcast.event ("table", op, channels, key, "row", old, changed, "user", origin, truncated)
        %2$s;
        logged := found;
    exception when others then
        insert into rowcast.event ("table", op, channels, "user", origin, truncated)
        values (%3$L, %4$L, array[%5$L], writer, origin, true);
        logged := true;
        raise warning 'rowcast: a change was captured only as far as possible: %%', sqlerrm using errcode = 'RC090';
    end;

    -- Only a daemon that sleeps is woken: it holds this lock then.
    if logged then
        begin
            if not pg_try_advisory_xact_lock_shared(32210705904137076) and pg_notification_queue_usage() < 0.5 then
                perform pg_notify('rowcast', '');
            end if;
        exception when others then
            raise warning 'rowcast: the daemon could not be woken: %%', sqlerrm;
        end;
    end if;
    return null;
end;
$capture$
$sql$, func,
            case op
                when 'insert' then format($ins$select %1$L, 'insert', array[%2$L],
               (select row_to_json(k.*) from (select %3$s) k),
               case when octet_length(i.image::text) <= 8388608 then i.image end,
               null::json, null::text[], writer, origin, octet_length(i.image::text) > 8388608
          from new_rows n
          cross join lateral (select row_to_json(r.*) as image from (select %4$s) r offset 0) i$ins$, name, channel, new_key, new_row)
                when 'delete' then format($del$select %1$L, 'delete', array[%2$L], k.key, null::json, k.key, null::text[], writer, origin, false
          from old_rows o
          cross join lateral (select row_to_json(r.*) as key from (select %3$s) r offset 0) k$del$, name, channel, old_key)
                else format($upd$-- What pairs nothing is a changed key: one row gone and another come.
        select %1$L,
               case when n.%3$I is null then 'delete' when o.%3$I is null then 'insert' else 'update' end,
               array[%2$L],
               case when n.%3$I is null then w.key else k.key end,
               case when n.%3$I is not null and octet_length(i.image::text) <= 8388608 then i.image end,
               case when n.%3$I is null then w.key end,
               case when n.%3$I is not null and o.%3$I is not null and octet_length(i.image::text) <= 8388608 then c.changed end,
               writer, origin, n.%3$I is not null and octet_length(i.image::text) > 8388608
          from old_rows o
          full join new_rows n on row(%8$s)::record *= row(%9$s)::record
          cross join lateral (select row_to_json(r.*) as key from (select %4$s) r offset 0) w
          cross join lateral (select row_to_json(r.*) as key from (select %5$s) r offset 0) k
          cross join lateral (select array_remove(array[%6$s], null) as changed offset 0) c
          cross join lateral (select row_to_json(r.*) as image from (select %7$s) r offset 0) i
         where c.changed <> '{}' or n.%3$I is null or o.%3$I is null$upd$, name, channel, keys[1], old_key, new_key, differs, new_row, old_pair, new_pair)
            end, name, op, channel);
        execute format('alter function rowcast.%I() owner to rowcast_owner', func);
        execute format('revoke all on function rowcast.%I() from public', func);
        execute format('comment on function rowcast.%I() is %L', func,
                       format('Captures %s of %s for rowcast; written by triggers/statement_change.sql.', op, name));
        execute format('create or replace trigger %I after %s on %s referencing %s for each statement execute function rowcast.%I()',
                       format('rowcast_900_%s', op), op, name,
                       case op when 'insert' then 'new table as new_rows' when 'delete' then 'old table as old_rows'
                               else 'old table as old_rows new table as new_rows' end,
                       func);
    end loop;
end;
$do$;
commit;
