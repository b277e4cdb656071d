create table intent_ledger.events (
    ledger text collate "C" not null,
    position bigint not null,
    stream text collate "C" not null,
    version bigint not null,
    type text collate "C" not null,
    at timestamptz not null,
    body bytea not null,
    primary key (ledger, position),
    unique (ledger, stream, version),
    check (position > 0),
    check (version > 0),
    check (stream <> ''),
    check (type <> '')
);

comment on table intent_ledger.events is
    'The ledger itself: facts in the order in which they were committed. Rows are added and never change.';
comment on column intent_ledger.events.position is 'Gapless number in the whole ledger, in commit order.';
comment on column intent_ledger.events.version is 'Gapless number within the stream.';
comment on column intent_ledger.events.body is 'The canonical bytes of the event: what is hashed, read and shown.';

grant select, insert on intent_ledger.events to intent_ledger_app;
