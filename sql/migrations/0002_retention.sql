-- How far back the log reaches. Retention raises it in the transaction that takes events away.
create table rowcast.floor (
    one boolean     primary key default true,
    xid xid8        not null,
    at  timestamptz not null default pg_catalog.now(),
    constraint floor_has_one_row check (one)
);

comment on table rowcast.floor is
    'One row: how far back the log is whole.';
comment on column rowcast.floor.xid is
    'Events of transactions below it may be gone; those of it and above are all there. Never lowered, and never above the oldest open transaction.';
comment on column rowcast.floor.at is
    'When it was raised last.';

insert into rowcast.floor (xid)
values ('0');
