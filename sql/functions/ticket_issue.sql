-- Keeps a ticket until it is used or too old; a few that are too old go on the way.
create or replace function rowcast._ticket_issue(hash bytea, claims json, life interval)
    returns void
    language sql
    security definer
    set search_path = pg_catalog, pg_temp
as $$
    delete from rowcast.ticket t
     where t.hash in (select old.hash
                        from rowcast.ticket old
                       where old.expires_at < clock_timestamp()
                       order by old.expires_at
                       limit 100
                         for update skip locked);
    insert into rowcast.ticket (hash, claims, expires_at)
    values (_ticket_issue.hash, _ticket_issue.claims, clock_timestamp() + _ticket_issue.life);
$$;

comment on function rowcast._ticket_issue(bytea, json, interval) is
    'Keeps a ticket until it is used or too old.';
