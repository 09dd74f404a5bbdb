-- What a ticket stands for, once: whoever else comes with it, at any node, gets nothing.
create or replace function rowcast._ticket_redeem(hash bytea)
    returns json
    language sql
    security definer
    set search_path = pg_catalog, pg_temp
as $$
    with used as (
        delete from rowcast.ticket t
         where t.hash = _ticket_redeem.hash
     returning t.claims, t.expires_at
    )
    select used.claims from used where used.expires_at > clock_timestamp();
$$;

comment on function rowcast._ticket_redeem(bytea) is
    'What a ticket stands for, once.';
