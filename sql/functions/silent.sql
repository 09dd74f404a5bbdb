-- What a capture function does where the log is missing: a half-dropped schema silences rowcast; it never fails the write.
create or replace function rowcast._silent(w rowcast.watched)
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select format($text$if to_regclass('rowcast.event_default') is null or to_regclass('rowcast.event_id_seq') is null then
        raise warning 'rowcast: the log is missing, a change of %% was not captured', %L;
        return null;
    end if;
$text$, w.name);
$$;

comment on function rowcast._silent(rowcast.watched) is
    'What a capture function does where the log is missing.';
