alter table intent_ledger.submissions
    add column likeness text collate "C",
    add column submitted_at timestamptz,
    add check ((likeness is null) = (submitted_at is null));

create index submissions_alike on intent_ledger.submissions (ledger, likeness, submitted_at) where likeness is not null;

comment on column intent_ledger.submissions.likeness is
    'The digest of what was asked for, by which a repetition under another key is recognised; null: nobody looks for one.';
