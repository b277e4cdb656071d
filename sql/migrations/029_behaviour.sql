create table intent_ledger.behaviour (
    ledger text collate "C" not null,
    subject text collate "C" not null,
    operation text collate "C" not null,
    state text collate "C" not null,
    found bigint not null,
    primary key (ledger, subject, operation),
    check (subject like '%/%'),
    check (found >= 0)
)
with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_threshold = 1000);

create index behaviour_found on intent_ledger.behaviour (ledger, found) where found > 0;

comment on table intent_ledger.behaviour is
    'View: what each agent, role and approver habitually does, and what was found odd: projections/behaviour/view.py.';
comment on column intent_ledger.behaviour.found is 'The position of the event that showed the last finding; 0: there is none.';

create table intent_ledger.anomalies (
    ledger text collate "C" not null,
    anomaly text collate "C" not null,
    position bigint not null,
    at timestamptz not null,
    kind text collate "C" not null,
    whose text collate "C" not null,
    name text collate "C" not null,
    operation text collate "C",
    found_position bigint not null,
    found_at timestamptz not null,
    intent text collate "C",
    grants text[] collate "C" not null,
    evidence text collate "C" not null,
    sentence text collate "C" not null,
    response text collate "C" not null,
    suspended text[] collate "C" not null,
    stands_until timestamptz not null,
    cleared_at timestamptz,
    cleared_by text collate "C",
    note text collate "C",
    primary key (ledger, anomaly),
    check ((cleared_at is null) = (cleared_by is null)),
    check (response in ('note', 'escalate', 'suspend'))
);

create index anomalies_by_position on intent_ledger.anomalies (ledger, position);
create index anomalies_standing on intent_ledger.anomalies (ledger, stands_until) where cleared_at is null;

comment on table intent_ledger.anomalies is
    'View: what was odd, what was done about it, and who has looked at it: projections/behaviour/anomalies.py.';

grant select, insert, update, delete on intent_ledger.behaviour, intent_ledger.anomalies to intent_ledger_app;
