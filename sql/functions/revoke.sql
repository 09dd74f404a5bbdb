-- Makes tokens count no longer: all of a user's that were issued up to now, or the one with this jti. Every daemon ends the connections
-- concerned as soon as this commits.
create or replace function rowcast.revoke(user_id text default null, jti text default null)
    returns void
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    if (revoke.user_id is null) = (revoke.jti is null) or '' in (revoke.user_id, revoke.jti) then
        raise exception 'revoke needs either a user or the jti of a token'
            using errcode = 'RC022', hint = 'Such as: select rowcast.revoke(user_id => ''7''); or: select rowcast.revoke(jti => ''…'');';
    end if;
    insert into rowcast.revocation (user_id, jti) values (revoke.user_id, revoke.jti);
    perform pg_notify('rowcast_revoke', '');
end;
$$;

comment on function rowcast.revoke(text, text) is
    'Makes tokens count no longer: all of a user''s issued up to now, or the one with this jti.';
