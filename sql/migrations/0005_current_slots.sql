-- The daemon reads only the slots that may hold something new, so it has to see which those are. The right itself is one of
-- rowcast.grant_daemon; this version keeps a daemon that needs it from starting without it.
comment on table rowcast.slot is
    'The slots that hold something, -1 being the default partition; a slot without a row is empty. Kept by rowcast.maintain, read by every daemon.';
comment on sequence rowcast.event_slot_seq is
    'The turn of the ring: events go into the slot with this number modulo 12. Read by every event and every daemon, moved by rowcast.maintain.';
