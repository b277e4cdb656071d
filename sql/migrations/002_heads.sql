-- One row for each ledger. Whoever changes a ledger's tables holds this row until commit: that gives gapless positions in
-- commit order, guards that are exact, and one order of locking, so that nothing can deadlock.

create table intent_ledger.heads (
    ledger text collate "C" not null,
    position bigint not null default 0,
    at timestamptz not null default pg_catalog.clock_timestamp(),
    primary key (ledger),
    check (ledger <> ''),
    check (position >= 0)
)
with (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

comment on table intent_ledger.heads is
    'The last position of each ledger and its time; its row lock is the right to append.';

grant select, insert, update on intent_ledger.heads to intent_ledger_app;
