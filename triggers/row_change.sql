-- Captures inserts, updates and deletes of one table row by row, without rowcast.watch:
--     psql -v table=public.orders -v channel=orders -f triggers/row_change.sql
-- Optional: -v columns=id,status (which columns are sent; all), -v ops=insert,update (which writes are told; all three).
-- Needs the schema of sql/install.sql, and a role that owns the table and is a member of rowcast_owner.
\set ON_ERROR_STOP on
\if :{?columns} \else \set columns '' \endif
\if :{?ops} \else \set ops 'insert,update,delete' \endif
\if :{?channel} \else \set channel '' \endif

begin;
set local lock_timeout = '2s';
-- Looked up where the caller looks; after that nothing is found but by its schema.
select :'table'::regclass::oid as target \gset
set local search_path = pg_catalog, pg_temp;
select set_config('rowcast.install_table', :'target', true) is null
    or set_config('rowcast.install_channel', :'channel', true) is null
    or set_config('rowcast.install_columns', :'columns', true) is null
    or set_config('rowcast.install_ops', :'ops', true) is null as unset \gset

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
    keys     text[] := array(
        select a.attname::text
          from pg_index i
         cross join unnest(i.indkey::int2[]) with ordinality k (num, place)
          join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.num
         where i.indexrelid = (select x.indexrelid from pg_index x
                                where x.indrelid = target and (x.indisprimary or x.indisreplident)
                                order by x.indisprimary desc limit 1)
           and k.place <= i.indnkeyatts
         order by k.place);
    keyless  constant boolean := keys = '{}';
    old_key  text;
    new_key  text;
    new_row  text;
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
    end if;
    keys := case when keyless then sent else keys end;
    -- A column whose type belongs to a stranger is shown without the stranger's casts.
    select string_agg(format('%s as %I', rowcast._shown(format('old.%I', c.name), c.type), c.name), ', ' order by array_position(keys, c.name)),
           string_agg(format('%s as %I', rowcast._shown(format('new.%I', c.name), c.type), c.name), ', ' order by array_position(keys, c.name))
      into old_key, new_key
      from rowcast._column c
     where c.target = target
       and c.name = any (keys);
    select string_agg(format('%s as %I', rowcast._shown(format('new.%I', c.name), c.type), c.name), ', ' order by c.num)
      into new_row
      from rowcast._column c
     where c.target = target
       and c.name = any (sent);

    foreach op in array string_to_array(current_setting('rowcast.install_ops'), ',') loop
        if op not in ('insert', 'update', 'delete') then
            raise exception 'ops names %', quote_literal(op)
                using errcode = 'RC009', hint = 'Write one or more of insert,update,delete; triggers/truncate.sql is for truncate.';
        end if;
        execute format($sql$
create or replace function rowcast.%1$I()
    returns trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $capture$
declare
    was     json;      -- key before
    is_now  json;      -- key after
    image   json;      -- the sent columns after
    changed text[];
    whole   boolean := true;
    writer  text := left(nullif(current_setting('rowcast.user', true), ''), 200);
    origin  text := left(nullif(current_setting('rowcast.origin', true), ''), 200);
begin
    if to_regclass('rowcast.event_default') is null or to_regclass('rowcast.event_id_seq') is null then
        raise warning 'rowcast: the log is missing, a change was not captured';
        return null;
    end if;

    -- What can fail is done where it fails nobody. Nothing is written in this block, so it takes no transaction id.
    begin
        %2$s
    exception when others then
        image := null;
        changed := null;
        whole := false;
        raise warning 'rowcast: a change was captured only as far as possible: %%', sqlerrm using errcode = 'RC090';
    end;

    %3$s

    -- Only a daemon that sleeps is woken: it holds this lock then.
    begin
        if not pg_try_advisory_xact_lock_shared(32210705904137076) and pg_notification_queue_usage() < 0.5 then
            perform pg_notify('rowcast', '');
        end if;
    exception when others then
        raise warning 'rowcast: the daemon could not be woken: %%', sqlerrm;
    end;
    return null;
end;
$capture$
$sql$,
            format('capture_%s_%s', target::oid, op),

            -- Building: the keys, then what differs, then the row.
            concat_ws(E'\n        ',
                case when op <> 'insert' then
                    format('select row_to_json(k.*) into was from (select %s) k;', old_key) end,
                case when op <> 'delete' then
                    format('select row_to_json(k.*) into is_now from (select %s) k;', new_key) end,
                case when op = 'update' and keyless then 'was := is_now;' end,
                case when op = 'update' then
                    format(E'changed := array_remove(array[%s], null);\n'
                           '        if changed = ''{}'' and was::text = is_now::text then\n            return null;\n        end if;',
                           (select string_agg(format('case when row(new.%1$I)::record *<> row(old.%1$I)::record then %1$L end', c), ', ') from unnest(sent) c)) end,
                case when op <> 'delete' then
                    format(E'select row_to_json(r.*) into image from (select %s) r;\n'
                           '        if octet_length(image::text) > 8388608 then\n'
                           '            image := null;\n            changed := null;\n            whole := false;\n        end if;',
                           new_row) end),

            -- Logging: a changed key is one row gone and another come.
            case op
                when 'insert' then
                    format($ins$insert into rowcast.event ("table", op, channels, key, "row", "user", origin, truncated)
    values (%L, 'insert', array[%L], is_now, image, writer, origin, not whole);$ins$, name, channel)
                when 'delete' then
                    format($del$insert into rowcast.event ("table", op, channels, key, old, "user", origin, truncated)
    values (%L, 'delete', array[%L], was, was, writer, origin, not whole);$del$, name, channel)
                else
                    format($upd$if was::text is distinct from is_now::text then
        insert into rowcast.event ("table", op, channels, key, old, "user", origin)
        values (%1$L, 'delete', array[%2$L], was, was, writer, origin);
        insert into rowcast.event ("table", op, channels, key, "row", "user", origin, truncated)
        values (%1$L, 'insert', array[%2$L], is_now, image, writer, origin, not whole);
    else
        insert into rowcast.event ("table", op, channels, key, "row", changed, "user", origin, truncated)
        values (%1$L, 'update', array[%2$L], is_now, image, changed, writer, origin, not whole);
    end if;$upd$, name, channel)
            end);
        execute format('alter function rowcast.%I() owner to rowcast_owner', format('capture_%s_%s', target::oid, op));
        execute format('revoke all on function rowcast.%I() from public', format('capture_%s_%s', target::oid, op));
        execute format('comment on function rowcast.%I() is %L', format('capture_%s_%s', target::oid, op),
                       format('Captures %s of %s for rowcast; written by triggers/row_change.sql.', op, name));
        execute format('create or replace trigger %I after %s on %s for each row execute function rowcast.%I()',
                       format('rowcast_900_%s', op), op, name, format('capture_%s_%s', target::oid, op));
    end loop;
end;
$do$;
commit;
