-- What waits in a ledger, counted for metrics: gateway/census.py.

-- name: moving
select phase, count(*) as intents
from intent_ledger.intents
where
    ledger = $1
    and phase = any('{submitted,preparing,awaiting_approval,committing,aborting,compensating}')
group by phase;

-- name: attention
select
    count(*) as intents,
    coalesce(extract(epoch from clock_timestamp() - min(updated_at)), 0)::float8 as oldest
from intent_ledger.intents
where
    ledger = $1
    and attention;

-- name: exposed
select adapter, exposure, count(*) as actions
from intent_ledger.exposure
where
    ledger = $1
    and exposure is not null
group by adapter, exposure;

-- name: views
select name, position, failure is not null as stopped
from intent_ledger.projections
where ledger = $1;

-- name: exports
select name, position
from intent_ledger.exports
where ledger = $1;

-- name: outbox
select count(*)
from intent_ledger.outbox
where ledger = $1;

-- name: divergences
select count(*)
from intent_ledger.divergences
where
    ledger = $1
    and gone_position is null;
