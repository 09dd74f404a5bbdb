-- The SQL that watches a table: functions, triggers and the record of what was asked for.
create or replace function rowcast._watch_statements(w rowcast.watched)
    returns text
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    made    text := '';
    removed text := '';
    op      text;
begin
    foreach op in array array['insert', 'update', 'delete', 'truncate'] loop
        if not op = any (w.ops) or (op = 'truncate' and not rowcast._tells_truncate(w)) then
            removed := removed || rowcast._unwatch_statements(w.target, w.name, op);
        else
            made := made || rowcast._capture_function(w, op) || format(
                E'\ncreate or replace trigger %I\n    after %s on %s%s\n    for each %s execute function rowcast.%I();\n\n',
                'rowcast_900_' || op, op, w.name,
                case
                    when op = 'truncate' or w.captured = 'row' then ''
                    when op = 'insert' then E'\n    referencing new table as new_rows'
                    when op = 'delete' then E'\n    referencing old table as old_rows'
                    else E'\n    referencing old table as old_rows new table as new_rows'
                end,
                case when op = 'truncate' then 'statement' else w.captured end,
                rowcast._capture_name(w.target, op));
            removed := removed || rowcast._sweep_statements(w.target, op, rowcast._capture_name(w.target, op));
        end if;
    end loop;
    -- Over what stays, not over what a replaced watch leaves to clear away.
    w.fingerprint := encode(sha256(convert_to(made, 'UTF8')), 'hex');
    return made || removed || format(
        E'insert into rowcast.watched (target, name, channels, users, columns, "except", ops, condition, old, log,\n'
        '                             capture, wake, rls, captured, published, key, fingerprint)\n'
        'values (%L, %L, %L, %L, %L, %L, %L, %L, %L, %L, %L, %L, %L, %L, %L, %L, %L)\n'
        'on conflict (target) do update\n'
        '   set (name, channels, users, columns, "except", ops, condition, old, log, capture, wake, rls, captured, published, key, fingerprint,\n'
        '        watched_by, watched_at)\n'
        '     = (excluded.name, excluded.channels, excluded.users, excluded.columns, excluded."except", excluded.ops, excluded.condition,\n'
        '        excluded.old, excluded.log, excluded.capture, excluded.wake, excluded.rls, excluded.captured, excluded.published,\n'
        '        excluded.key, excluded.fingerprint, excluded.watched_by, excluded.watched_at);\n',
        w.name, w.name, w.channels, w.users, w.columns, w."except", w.ops, w.condition, w.old, w.log,
        w.capture, w.wake, w.rls, w.captured, w.published, w.key, w.fingerprint);
end;
$$;

comment on function rowcast._watch_statements(rowcast.watched) is
    'The SQL that watches a table.';
