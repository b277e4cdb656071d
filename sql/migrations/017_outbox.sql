create table intent_ledger.outbox (
    ledger text collate "C" not null,
    position bigint not null,
    queued_at timestamptz not null,
    due_at timestamptz not null,
    attempts bigint not null default 0,
    primary key (ledger, position),
    check (attempts >= 0)
)
with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

create index outbox_due on intent_ledger.outbox (ledger, due_at);

comment on table intent_ledger.outbox is
    'The events of which somebody outside is still to be told, written in the transaction of the event itself.';
comment on column intent_ledger.outbox.due_at is 'When the next attempt may begin; while one is under way, when it is given up.';
comment on column intent_ledger.outbox.attempts is 'How often it was taken to be sent, which is the epoch of whoever has it.';

grant select, insert, update (due_at, attempts), delete on intent_ledger.outbox to intent_ledger_app;
