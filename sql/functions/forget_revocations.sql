-- Forgets revocations of tokens that have ended by themselves: those older than the longest life of a token.
create or replace function rowcast._forget_revocations(life interval)
    returns bigint
    language sql
    security definer
    set search_path = pg_catalog, pg_temp
as $$
    with gone as (
        delete from rowcast.revocation r
         where r.id in (select old.id
                          from rowcast.revocation old
                         where old.at < clock_timestamp() - _forget_revocations.life
                         order by old.at
                         limit 1000
                           for update skip locked)
     returning 1
    )
    select count(*) from gone;
$$;

comment on function rowcast._forget_revocations(interval) is
    'Forgets revocations of tokens that have ended by themselves.';
