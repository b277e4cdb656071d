create table intent_ledger.exposure (
    ledger text collate "C" not null,
    intent text collate "C" not null,
    action text collate "C" not null,
    agent text collate "C" not null,
    adapter text collate "C" not null,
    operation text collate "C" not null,
    guarantee text collate "C" not null,
    undo text collate "C" not null,
    phase text collate "C" not null,
    step text collate "C" not null,
    exposure text collate "C",
    since timestamptz not null,
    primary key (ledger, intent, action),
    check (exposure in ('held', 'promised', 'in_doubt'))
)
with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

comment on table intent_ledger.exposure is
    'View: the actions of intents that have not ended, and what is held, promised or in doubt of them outside. Small by nature.';

grant select, insert, update, delete on intent_ledger.exposure to intent_ledger_app;
