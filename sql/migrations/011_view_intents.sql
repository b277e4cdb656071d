create table intent_ledger.intents (
    ledger text collate "C" not null,
    intent text collate "C" not null,
    phase text collate "C" not null,
    agent text collate "C" not null,
    task text collate "C",
    commissioned_by text collate "C",
    operations text[] collate "C" not null,
    attention boolean not null,
    version bigint not null,
    position bigint not null,
    submitted_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (ledger, intent),
    check (version > 0),
    check (position > 0)
)
with (fillfactor = 80);

create index intents_of_phase on intent_ledger.intents (ledger, phase, intent);
create index intents_of_agent on intent_ledger.intents (ledger, agent, intent);
create index intents_of_task on intent_ledger.intents (ledger, task, intent) where task is not null;
create index intents_of_commissioner on intent_ledger.intents (ledger, commissioned_by, intent)
    where commissioned_by is not null;
create index intents_in_attention on intent_ledger.intents (ledger, intent) where attention;

comment on table intent_ledger.intents is
    'View: what intents are searched by, one row each, up to the version it names. Folded from events; can be rebuilt.';

grant select, insert, update, delete on intent_ledger.intents to intent_ledger_app;
