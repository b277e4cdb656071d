create table if not exists intent_fence (
    intent_key varchar(64) character set ascii collate ascii_bin primary key,
    state varchar(8) character set ascii collate ascii_bin not null check (state in ('held', 'applied', 'aborted')),
    epoch bigint not null check (epoch >= 0),
    receipt mediumtext character set utf8mb4 collate utf8mb4_bin,
    answer mediumtext character set utf8mb4 collate utf8mb4_bin,
    calls bigint not null default 1,
    at timestamp(6) not null default current_timestamp(6),
    check (receipt is not null or state <> 'held'),
    check (answer is not null or state = 'held')
) engine = innodb
comment = 'What became of each call under a key of Intent Ledger. A row may go when nobody can repeat or undo that call.'
