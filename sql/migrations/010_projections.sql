-- How far each view of each ledger has come. Whoever moves a view holds its row until commit, so that two processes never
-- apply the same events twice.

create table intent_ledger.projections (
    ledger text collate "C" not null,
    name text collate "C" not null,
    position bigint not null default 0,
    failure text,
    primary key (ledger, name),
    check (name <> ''),
    check (position >= 0)
)
with (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

comment on table intent_ledger.projections is
    'The checkpoint of each view: every event up to this position is in it. Changes in the same transaction as the view.';
comment on column intent_ledger.projections.failure is
    'Why the view stopped, in a sentence with the position; null while it goes on.';

grant select, insert, update on intent_ledger.projections to intent_ledger_app;
