create table intent_ledger.audit (
    ledger text collate "C" not null,
    intent text collate "C" not null,
    version bigint not null,
    position bigint not null,
    at timestamptz not null,
    kind text collate "C" not null,
    agent_kind text collate "C" not null,
    agent text collate "C" not null,
    agent_version text collate "C",
    by text collate "C",
    task text collate "C",
    commissioned_by text collate "C",
    grant_id text collate "C" not null,
    custody text[] collate "C" not null,
    policies text[] collate "C" not null,
    policy_set text collate "C",
    actions text[] collate "C" not null,
    operations text[] collate "C" not null,
    summaries text[] collate "C" not null,
    outcome text collate "C" not null,
    reason text collate "C",
    attention text collate "C",
    outcome_position bigint not null,
    outcome_at timestamptz not null,
    primary key (ledger, intent, version),
    check (kind in ('intent', 'approve', 'reject', 'cancel', 'undo', 'resolve')),
    check ((kind = 'intent') = (version = 1)),
    check ((kind = 'intent') = (by is null)),
    check (outcome_position >= position)
)
with (fillfactor = 80);

create index audit_in_order on intent_ledger.audit (ledger, position);
create index audit_of_agent on intent_ledger.audit (ledger, agent, position);
create index audit_of_task on intent_ledger.audit (ledger, task, position) where task is not null;
create index audit_at on intent_ledger.audit using brin (at);

comment on table intent_ledger.audit is
    'View: one entry for each intent, with its outcome, and one for each act of a person. Folded from events; can be rebuilt.';
comment on column intent_ledger.audit.version is 'Of the event that opened the entry; 1 for the intent itself.';
comment on column intent_ledger.audit.by is 'The person who acted; null in the entry of the intent itself.';

grant select, insert, update, delete on intent_ledger.audit to intent_ledger_app;
