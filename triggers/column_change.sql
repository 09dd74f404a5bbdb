-- Captures updates of one table that change one of the columns named; inserts, deletes and other updates stay silent:
--     psql -v table=public.orders -v channel=orders -v columns=status,total -f triggers/column_change.sql
-- The columns are compared inside the function: a WHEN clause or UPDATE OF would make the table's own ALTER TABLE … DROP COLUMN fail.
\set ON_ERROR_STOP on
\if :{?columns}
    \set ops 'update'
    \ir row_change.sql
\else
    do $$ begin raise exception 'no columns are given' using hint = 'Say which: psql -v columns=status,total …'; end $$;
\endif
