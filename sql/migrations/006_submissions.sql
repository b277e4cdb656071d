create table intent_ledger.submissions (
    ledger text collate "C" not null,
    subject text collate "C" not null,
    key text collate "C" not null,
    intent text collate "C" not null,
    request_digest text collate "C" not null,
    primary key (ledger, subject, key)
);

comment on table intent_ledger.submissions is
    'Which intent each idempotency key of each subject named, and the digest of its request. Kept for ever.';

grant select, insert on intent_ledger.submissions to intent_ledger_app;
