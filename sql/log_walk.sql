-- Walking the whole log: ledger/log/verify.py.

-- name: patience
select
    pg_catalog.set_config('statement_timeout', $1, true),
    pg_catalog.set_config('idle_in_transaction_session_timeout', $1, true);

-- name: ends
select
    coalesce((select min(position) from intent_ledger.events where ledger = $1), 1) as first,
    coalesce((select max(position) from intent_ledger.events where ledger = $1), 0) as last,
    coalesce((select position from intent_ledger.heads where ledger = $1), 0) as head,
    coalesce((select max(size) from intent_ledger.log_checkpoints where ledger = $1), 0) as signed,
    (select count(*) from intent_ledger.log_tiles where ledger = $1) as tiles;

-- name: checkpoints
select size, note
from intent_ledger.log_checkpoints
where
    ledger = $1
    and size > $2
    and size <= $3
order by size;

-- name: broken_stream
select exists (
    select
    from intent_ledger.events
    where ledger = $1
    group by stream
    having
        min(version) <> 1
        or max(version) <> count(*)
);

-- name: first_in_a_broken_stream
select position
from (
    select
        position,
        version,
        row_number() over (partition by stream order by position) as counted
    from intent_ledger.events
    where ledger = $1
) as numbered
where version <> counted
order by position
limit 1;
