-- What runs are grouped and compared by, and how far spans were exported. Whoever exports holds the row's lease; it is
-- no lock, because a collector may take long to answer.

create table intent_ledger.timeline (
    ledger text collate "C" not null,
    intent text collate "C" not null,
    task text collate "C",
    run text collate "C" not null,
    agent text collate "C" not null,
    agent_version text collate "C",
    custody text[] collate "C" not null,
    phase text collate "C" not null,
    actions text[] collate "C" not null,
    operations text[] collate "C" not null,
    path text[] collate "C" not null,
    submitted_at timestamptz not null,
    updated_at timestamptz not null,
    ended_at timestamptz,
    position bigint not null,
    primary key (ledger, intent),
    check (position > 0)
)
with (fillfactor = 80);

create index timeline_of_task on intent_ledger.timeline (ledger, task, intent) where task is not null;
create index timeline_of_run on intent_ledger.timeline (ledger, run, intent);

comment on table intent_ledger.timeline is
    'View: the path of each intent and the run of which it is a part, one row each. Folded from events; can be rebuilt.';
comment on column intent_ledger.timeline.run is
    'The trace under which the agent submitted it, or the intent itself where there was none.';

create table intent_ledger.exports (
    ledger text collate "C" not null,
    name text collate "C" not null,
    position bigint not null default 0,
    holder text collate "C",
    held_until timestamptz,
    primary key (ledger, name),
    check (position >= 0),
    check ((holder is null) = (held_until is null))
);

comment on table intent_ledger.exports is
    'How far the ledger was told to each outside observer (spans to a collector), and which process tells it now.';

grant select, insert, update, delete on intent_ledger.timeline to intent_ledger_app;
grant select, insert, update on intent_ledger.exports to intent_ledger_app;
