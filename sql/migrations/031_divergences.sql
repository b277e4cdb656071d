-- Where the outside no longer shows what the ledger did there, and when that was last looked at.

create table intent_ledger.divergences (
    ledger text collate "C" not null,
    intent text collate "C" not null,
    action text collate "C" not null, -- '': it is about what the intent's task calls success
    aspect text collate "C" not null,
    operation text collate "C" not null,
    expected text collate "C" not null,
    found text collate "C",
    reason text collate "C" not null,
    summary text collate "C" not null,
    agent text collate "C" not null,
    agent_version text collate "C",
    task text collate "C",
    commissioned_by text collate "C",
    custody text[] collate "C" not null,
    position bigint not null,
    found_at timestamptz not null,
    gone_position bigint,
    gone_at timestamptz,
    cause text collate "C",
    primary key (ledger, intent, action, aspect),
    check (position > 0),
    check ((gone_position is null) = (gone_at is null)),
    check ((gone_position is null) = (cause is null)),
    check (cause in ('agrees', 'overtaken'))
)
with (fillfactor = 80);

create index divergences_in_order on intent_ledger.divergences (ledger, position);
create index divergences_standing on intent_ledger.divergences (ledger, intent) where gone_position is null;

comment on table intent_ledger.divergences is
    'View: where the outside was found to differ from the ledger, the last time for each aspect of each action. Folded from events; can be rebuilt.';
comment on column intent_ledger.divergences.expected is 'What the ledger says, as JSON; found: what the outside showed instead, null where it showed nothing.';
comment on column intent_ledger.divergences.gone_position is 'Null while it stands.';

grant select, insert, update, delete on intent_ledger.divergences to intent_ledger_app;

create table intent_ledger.reconciliations (
    ledger text collate "C" primary key,
    due_at timestamptz not null default '-infinity',
    begun_at timestamptz,
    ended_at timestamptz,
    intents bigint not null default 0,
    calls bigint not null default 0,
    agreed bigint not null default 0,
    diverged bigint not null default 0,
    untold bigint not null default 0
);

comment on table intent_ledger.reconciliations is
    'When each ledger is next compared with the outside, and what the last comparison came to. No fact: events cannot tell it, and nothing rests on it.';

grant select, insert, update on intent_ledger.reconciliations to intent_ledger_app;
