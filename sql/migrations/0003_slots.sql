-- The log in a ring of slots: written to one at a time, emptied whole. See docs/decisions/0011-retention-by-a-ring-of-slots.md
alter table rowcast.event detach partition rowcast.event_default;
alter sequence rowcast.event_id_seq owned by none;
drop table rowcast.event;

-- Its last value is the turn: the slot that is written to is the turn modulo 12.
create sequence rowcast.event_slot_seq as bigint minvalue 0;

select pg_catalog.setval('rowcast.event_slot_seq', 0);

comment on sequence rowcast.event_slot_seq is
    'The turn of the ring: events go into the slot with this number modulo 12. Read by every event, moved by rowcast.maintain.';

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
    -- Behind xid: whoever was told this slot had its transaction id before.
    slot      smallint    default (pg_catalog.pg_sequence_last_value('rowcast.event_slot_seq') % 12)::smallint
) partition by list (slot);

-- A sequence belongs to a column only where both have one owner.
alter table rowcast.event owner to rowcast_owner;
alter sequence rowcast.event_id_seq owner to rowcast_owner;
alter sequence rowcast.event_slot_seq owner to rowcast_owner;
alter sequence rowcast.event_id_seq owned by rowcast.event.id;
alter sequence rowcast.event_slot_seq owned by rowcast.event.slot;

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
comment on column rowcast.event.slot is 'Where in the ring it is; null in the default partition.';

-- No primary key: it would have to hold the slot, and the slot must be free to be missing.
create index event_xid on rowcast.event (xid, id);

do $$
declare
    slot int;
begin
    for slot in 0..11 loop
        execute format('create table rowcast.event_%s partition of rowcast.event for values in (%s)', slot, slot);
        -- Appended to, read soon and emptied whole: vacuum for the sake of inserts would be work for nothing.
        execute format('alter table rowcast.event_%s set (autovacuum_vacuum_insert_threshold = -1, autovacuum_vacuum_scale_factor = 0.05,
                                                          autovacuum_analyze_scale_factor = 0.2, toast.autovacuum_vacuum_scale_factor = 0.05)', slot);
        execute format('comment on table rowcast.event_%s is %L', slot, 'A slot of the log.');
    end loop;
end;
$$;

-- What was logged so far stays where it is, and ages there.
alter table rowcast.event_default drop constraint event_default_pkey;
alter table rowcast.event_default add column slot smallint;
alter table rowcast.event attach partition rowcast.event_default default;

comment on table rowcast.event_default is
    'Catches what has no slot, so that a write never fails for want of one.';

create table rowcast.slot (
    slot       smallint    primary key,
    turn       bigint      not null,
    opened_at  timestamptz not null,
    closed_at  timestamptz,
    closed_xid xid8,
    settled_at timestamptz
);

comment on table rowcast.slot is
    'The slots that hold something, -1 being the default partition; a slot without a row is empty. Kept by rowcast.maintain.';
comment on column rowcast.slot.turn is 'Which turn filled it: the lowest is the oldest.';
comment on column rowcast.slot.closed_at is 'When the turn was seen to have passed on; null for the slot that is written to.';
comment on column rowcast.slot.closed_xid is 'Every transaction that may have written to it began before this one.';
comment on column rowcast.slot.settled_at is 'When all of those were seen to have ended: from then on its age counts.';
