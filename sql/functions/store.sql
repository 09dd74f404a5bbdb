-- The statements that log, or for a notify-only watch send, the event held by a record variable.
create or replace function rowcast._store(w rowcast.watched, variable text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select case
               when w.log then format($text$        %2$s
        values (%1$I."table", %1$I.op, %1$I.channels, %1$I.users, %1$I.key, %1$I."row", %1$I.old, %1$I.changed, %1$I."user", %1$I.origin, %1$I.truncated);
        logged := true;
$text$, variable, rowcast._log_columns())
               else format($text$        if to_regproc('rowcast._announce') is not null and to_regproc('rowcast._signed') is not null and to_regclass('rowcast.identity') is not null then
            perform rowcast._announce(%1$I);
        end if;
$text$, variable)
           end;
$$;

comment on function rowcast._store(rowcast.watched, text) is
    'The statements that log or send the event held by a record variable.';
