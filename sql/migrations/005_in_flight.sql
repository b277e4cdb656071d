create sequence intent_ledger.epochs;

comment on sequence intent_ledger.epochs is
    'Every taking of an intent gets a number above all earlier ones, even if the intent had left the table in between.';

create table intent_ledger.in_flight (
    ledger text collate "C" not null,
    intent text collate "C" not null,
    due_at timestamptz not null,
    epoch bigint not null,
    worker text,
    primary key (ledger, intent),
    check (epoch > 0),
    check (worker is null or due_at < 'infinity')
)
with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

create index in_flight_due on intent_ledger.in_flight (ledger, due_at) where due_at < 'infinity';

comment on table intent_ledger.in_flight is
    'The intents that are not at rest. A lease is a due_at in the future beside a worker; a parked intent is due at infinity.';

grant usage on sequence intent_ledger.epochs to intent_ledger_app;
grant select, insert, update, delete on intent_ledger.in_flight to intent_ledger_app;
