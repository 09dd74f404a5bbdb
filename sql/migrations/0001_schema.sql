-- The role that owns everything, the schema, its tables. Frozen once released: a change is a new migration.
do $$
begin
    -- Roles belong to the whole cluster: another database, or another session right now, may have made it.
    if not exists (select from pg_catalog.pg_roles where rolname = 'rowcast_owner') then
        begin
            create role rowcast_owner nologin;
        exception
            when duplicate_object or unique_violation then null;
            when insufficient_privilege then
                raise exception 'the role % may not create the role rowcast_owner', current_user
                    using errcode = 'RC001',
                          hint = format('As a superuser run: alter role %I createrole; or: create role rowcast_owner nologin; grant rowcast_owner to %I;', current_user, current_user);
        end;
    end if;

    if current_setting('server_version_num')::int >= 160000 then
        -- Whoever creates a role there may administer it, but is no member until it says so.
        if not (pg_catalog.pg_has_role(current_user, 'rowcast_owner', 'usage')
                and pg_catalog.pg_has_role(current_user, 'rowcast_owner', 'set')) then
            execute format('grant rowcast_owner to %I with inherit true, set true', current_user);
        end if;
    elsif not pg_catalog.pg_has_role(current_user, 'rowcast_owner', 'usage') then
        execute format('grant rowcast_owner to %I', current_user);
    end if;
exception
    when insufficient_privilege then
        raise exception 'the role % is not a member of rowcast_owner', current_user
            using errcode = 'RC001',
                  hint = format('As a superuser run: grant rowcast_owner to %I;', current_user);
end;
$$;

create schema rowcast authorization rowcast_owner;

comment on schema rowcast is
    'rowcast: changes of watched tables, on their way to subscribers. Installed by sql/, removed by sql/uninstall.sql.';

create table rowcast.migration (
    version    int         primary key,
    name       text        not null,
    checksum   text,
    applied_at timestamptz not null default pg_catalog.now()
);

comment on table rowcast.migration is
    'Which files of sql/migrations were applied; checksum is null where psql did it.';

create table rowcast.identity (
    one        boolean     primary key default true,
    key        bytea       not null,
    created_at timestamptz not null default pg_catalog.now(),
    constraint identity_has_one_row check (one),
    constraint key_is_32_bytes check (pg_catalog.octet_length(key) = 32)
);

comment on table rowcast.identity is
    'One row: the secret with which notify-only events are signed, because any role may NOTIFY any channel.';

-- Three random UUIDs hold 366 random bits; the hash folds them into 32 bytes without an extension.
insert into rowcast.identity (key)
select pg_catalog.sha256(pg_catalog.uuid_send(pg_catalog.gen_random_uuid())
                         || pg_catalog.uuid_send(pg_catalog.gen_random_uuid())
                         || pg_catalog.uuid_send(pg_catalog.gen_random_uuid()));

-- Cache 1, never more: that a later change of a row has a higher id rests on it.
create sequence rowcast.event_id_seq as bigint cache 1;

comment on sequence rowcast.event_id_seq is
    'Ids of events: their order inside one transaction and between changes of one row.';

create table rowcast.event (
    id        bigint      not null default pg_catalog.nextval('rowcast.event_id_seq'),
    xid       xid8        not null default pg_catalog.pg_current_xact_id(),
    at        timestamptz not null default pg_catalog.clock_timestamp(),
    "table"   text,
    op        text        not null,
    channels  text[]      not null,
    users     text[],
    key       json,
    "row"     json,
    old       json,
    changed   text[],
    "user"    text,
    origin    text,
    truncated boolean     not null default false,
    parked    boolean     not null default false,
    primary key (xid, id)
) partition by range (xid);

alter sequence rowcast.event_id_seq owned by rowcast.event.id;

comment on table rowcast.event is
    'The log: one row an event, written in the transaction that made the change.';
comment on column rowcast.event.id is 'Order inside a transaction and between changes of one row.';
comment on column rowcast.event.xid is 'Transaction that wrote it, also inside savepoints; readers go by its visibility.';
comment on column rowcast.event.at is 'The database''s clock when the change was captured.';
comment on column rowcast.event."table" is 'Watched table, quoted as SQL needs it; null for rowcast.emit.';
comment on column rowcast.event.op is 'insert, update, delete, truncate, or the name given to rowcast.emit.';
comment on column rowcast.event.channels is 'Channels it goes to.';
comment on column rowcast.event.users is 'Only these users get it; null is everyone who may subscribe, empty is nobody.';
comment on column rowcast.event.key is 'Key columns of the row.';
comment on column rowcast.event."row" is 'Watched columns after the change; the data of rowcast.emit.';
comment on column rowcast.event.old is 'Watched columns before the change where the watch asks for them; for delete at least the key.';
comment on column rowcast.event.changed is 'For update: names of the watched columns that differ.';
comment on column rowcast.event."user" is 'Setting rowcast.user of the writer.';
comment on column rowcast.event.origin is 'Setting rowcast.origin of the writer.';
comment on column rowcast.event.truncated is 'The row was too large or could not be read whole: it carries its key at most.';
comment on column rowcast.event.parked is 'A notify-only event that did not fit in a notification: fetched by id, not part of the log.';

create table rowcast.event_default partition of rowcast.event default;

-- Appended to, read soon and dropped whole: vacuum for the sake of inserts would be work for nothing.
alter table rowcast.event_default set (
    autovacuum_vacuum_insert_threshold = -1,
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.2,
    toast.autovacuum_vacuum_scale_factor = 0.05
);

comment on table rowcast.event_default is
    'Catches what outran the partitions made ahead, so that a write never fails for want of one.';

create table rowcast.watched (
    target      regclass    primary key,
    name        text        not null,
    channels    text[]      not null,
    users       text[],
    columns     text[],
    "except"    text[],
    ops         text[]      not null,
    condition   text,
    old         boolean     not null,
    log         boolean     not null,
    capture     text        not null,
    wake        text        not null,
    rls         boolean     not null,
    captured    text        not null,
    published   text[]      not null,
    key         text[]      not null,
    fingerprint text,
    watched_by  text        not null default current_user,
    watched_at  timestamptz not null default pg_catalog.now(),
    constraint capture_is_known check (capture in ('auto', 'row', 'statement')),
    constraint captured_is_known check (captured in ('row', 'statement')),
    constraint wake_is_known check (wake in ('auto', 'poll')),
    constraint ops_are_known check (ops <@ array['insert', 'update', 'delete', 'truncate'])
);

comment on table rowcast.watched is
    'What rowcast.watch was told for each table, and what it made of it; read it through rowcast.watches.';
comment on column rowcast.watched.name is 'The table''s name in its events.';
comment on column rowcast.watched.captured is 'How it is captured: what "auto" chose.';
comment on column rowcast.watched.published is 'Columns that go out, in the table''s order.';
comment on column rowcast.watched.key is 'Columns that make the key; empty where the table has none.';
comment on column rowcast.watched.fingerprint is 'Hash of the generated functions and triggers: a different one today is drift.';
