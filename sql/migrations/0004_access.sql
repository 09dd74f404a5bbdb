-- Who is kept out, and tickets: what decides about people rather than rows.
create table rowcast.revocation (
    id      bigint      generated always as identity primary key,
    xid     xid8        not null default pg_catalog.pg_current_xact_id(),
    at      timestamptz not null default pg_catalog.clock_timestamp(),
    user_id text,
    jti     text,
    constraint revocation_names_one check ((user_id is null) <> (jti is null))
);

comment on table rowcast.revocation is
    'Tokens that count no longer, before their end. Written by rowcast.revoke, read by every daemon.';
comment on column rowcast.revocation.id is 'Number of the entry.';
comment on column rowcast.revocation.xid is 'Transaction that wrote it; daemons read what is new by it.';
comment on column rowcast.revocation.at is 'Tokens of this user issued up to then are refused.';
comment on column rowcast.revocation.user_id is 'The user whose tokens those are.';
comment on column rowcast.revocation.jti is 'Or the id of the one token.';

create index revocation_xid on rowcast.revocation (xid);
create index revocation_at on rowcast.revocation (at);

-- Unlogged: a ticket lives for seconds, and losing one in a crash costs its holder a new one.
create unlogged table rowcast.ticket (
    hash       bytea       primary key,
    claims     json        not null,
    expires_at timestamptz not null
);

comment on table rowcast.ticket is
    'Tickets that were issued and not used yet. Only the daemon''s functions touch it.';
comment on column rowcast.ticket.hash is 'SHA-256 of the ticket: whoever reads this table gets none.';
comment on column rowcast.ticket.claims is 'The claims of the token it was issued for.';
comment on column rowcast.ticket.expires_at is 'From then on it is good for nothing.';

create index ticket_expires_at on rowcast.ticket (expires_at);

comment on sequence rowcast.revocation_id_seq is
    'Numbers the revocations.';
