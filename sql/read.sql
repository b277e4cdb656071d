-- Reading the ledger: ledger/postgres_store.py.

-- name: stream
select position, stream, version, type, at, body
from intent_ledger.events
where
    ledger = $1
    and stream = $2
    and version > $3
order by version
limit $4;

-- name: submission
select intent, request_digest
from intent_ledger.submissions
where
    ledger = $1
    and subject = $2
    and key = $3;

-- name: all
select position, stream, version, type, at, body
from intent_ledger.events
where
    ledger = $1
    and position > $2
order by position
limit $3;

-- name: head
select position
from intent_ledger.heads
where ledger = $1;

-- name: time
select pg_catalog.clock_timestamp();

-- name: policy_set
select policy_set
from intent_ledger.heads
where ledger = $1;

-- name: time_of
select at
from intent_ledger.events
where
    ledger = $1
    and position = $2;
