-- Installs or upgrades rowcast with psql alone:  psql -d app -f sql/install.sql
\set ON_ERROR_STOP on
begin;
set local search_path = pg_catalog, pg_temp;
set local lock_timeout = '2s';
select pg_advisory_xact_lock(32210705904137079);   -- one installer at a time

select to_regclass('rowcast.migration') is null as fresh \gset
\if :fresh
    \ir migrations/0001_schema.sql
    insert into rowcast.migration (version, name) values (1, '0001_schema');
\endif
select not exists (select from rowcast.migration where version = 2) as missing \gset
\if :missing
    \ir migrations/0002_retention.sql
    insert into rowcast.migration (version, name) values (2, '0002_retention');
\endif
select not exists (select from rowcast.migration where version = 3) as missing \gset
\if :missing
    \ir migrations/0003_slots.sql
    insert into rowcast.migration (version, name) values (3, '0003_slots');
\endif
select not exists (select from rowcast.migration where version = 4) as missing \gset
\if :missing
    \ir migrations/0004_access.sql
    insert into rowcast.migration (version, name) values (4, '0004_access');
\endif
select not exists (select from rowcast.migration where version = 5) as missing \gset
\if :missing
    \ir migrations/0005_current_slots.sql
    insert into rowcast.migration (version, name) values (5, '0005_current_slots');
\endif

\ir functions/trusted.sql
\ir functions/shown.sql
\ir functions/column.sql
\ir functions/refuse_target.sql
\ir functions/refuse_channel.sql
\ir functions/refuse_condition.sql
\ir functions/refuse_caller.sql
\ir functions/refuse_role.sql
\ir functions/template.sql
\ir functions/named.sql
\ir functions/used.sql
\ir functions/picked.sql
\ir functions/image.sql
\ir functions/differs.sql
\ir functions/changed.sql
\ir functions/paired.sql
\ir functions/audience.sql
\ir functions/missing_side.sql
\ir functions/side.sql
\ir functions/said.sql
\ir functions/telling.sql
\ir functions/fits.sql
\ir functions/differing.sql
\ir functions/wanted.sql
\ir functions/built.sql
\ir functions/event_select.sql
\ir functions/rebuild_query.sql
\ir functions/surviving.sql
\ir functions/filled.sql
\ir functions/rebuilt.sql
\ir functions/log_columns.sql
\ir functions/bulk.sql
\ir functions/pairs.sql
\ir functions/warn.sql
\ir functions/signed.sql
\ir functions/announce.sql
\ir functions/capture_name.sql
\ir functions/store.sql
\ir functions/judged.sql
\ir functions/log_stands.sql
\ir functions/told_select.sql
\ir functions/told_store.sql
\ir functions/wake_up.sql
\ir functions/asked.sql
\ir functions/one_row.sql
\ir functions/silent.sql
\ir functions/bare.sql
\ir functions/rescue_declarations.sql
\ir functions/row_body.sql
\ir functions/statement_rescue.sql
\ir functions/statement_body.sql
\ir functions/capture_function.sql
\ir functions/tells_truncate.sql
\ir functions/sweep_statements.sql
\ir functions/unwatch_statements.sql
\ir functions/watch_statements.sql
\ir functions/definition.sql
\ir functions/watch_sql.sql
\ir functions/run.sql
\ir functions/watch.sql
\ir functions/unwatch_sql.sql
\ir functions/unwatch.sql
\ir functions/drift.sql
\ir functions/watches.sql
\ir functions/emit.sql
\ir functions/revoke.sql
\ir functions/forget_revocations.sql
\ir functions/ticket_issue.sql
\ir functions/ticket_redeem.sql
\ir functions/slot_table.sql
\ir functions/slot_newest.sql
\ir functions/slot_bytes.sql
\ir functions/slot_settle.sql
\ir functions/slot_follow.sql
\ir functions/slot_empty.sql
\ir functions/slot_turn.sql
\ir functions/maintain.sql
\ir functions/grant_daemon.sql
\ir functions/grant_emit.sql
\ir functions/grant_revoke.sql
\ir grants.sql
commit;
