create table if not exists intent_fence (
    intent_key text primary key check (length(intent_key) between 1 and 64),
    state text not null check (state in ('held', 'applied', 'aborted')),
    epoch bigint not null check (epoch >= 0),
    receipt text check (receipt is not null or state <> 'held'),
    answer text check (answer is not null or state = 'held'),
    calls bigint not null default 1,
    at timestamptz not null default now()
);
comment on table intent_fence is
    'What became of each call under a key of Intent Ledger. A row may go when nobody can repeat or undo that call.';
