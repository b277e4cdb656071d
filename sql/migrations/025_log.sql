-- The Merkle log of each ledger: what `ledger/log/keeper.py` makes of the events, in the tiles of C2SP tlog-tiles, and
-- what it has signed. Whoever owns this database can rewrite all of it; that is found out outside (docs/log.md).

create table intent_ledger.log_tiles (
    ledger text collate "C" not null,
    level integer not null,
    number bigint not null,
    hashes bytea not null,
    primary key (ledger, level, number),
    check (level between 0 and 7),
    check (number >= 0),
    check (octet_length(hashes) between 32 and 8192),
    check (octet_length(hashes) % 32 = 0)
);

alter table intent_ledger.log_tiles alter column hashes set storage external;

comment on table intent_ledger.log_tiles is
    'The hashes of the Merkle tree over the events, 256 side by side. Only the last tile of a level still grows.';
comment on column intent_ledger.log_tiles.hashes is
    'At level 0 the hashes of events, in order of position; above, each the root of a full tile of the level below.';

create table intent_ledger.log_checkpoints (
    ledger text collate "C" not null,
    size bigint not null,
    at timestamptz not null default pg_catalog.clock_timestamp(),
    note text not null,
    primary key (ledger, size),
    check (size > 0),
    check (note <> '')
);

comment on table intent_ledger.log_checkpoints is
    'Every signed checkpoint of the log: the events up to position `size` have the root hash in the note.';
comment on column intent_ledger.log_checkpoints.note is
    'C2SP tlog-checkpoint, as it was published. Lines of cosignatures are added as witnesses give them.';

grant select, insert, update (hashes) on intent_ledger.log_tiles to intent_ledger_app;
grant select, insert, update (note) on intent_ledger.log_checkpoints to intent_ledger_app;
