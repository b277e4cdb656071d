-- The intents in flight: ledger/postgres_store.py and ledger/appender.py.

-- name: claim
select intent, epoch, alive
from intent_ledger.claim($1, $2, $3, $4);

-- name: renew
select intent
from intent_ledger.renew($1, $2, $3, $4, $5) as intent;

-- name: standing
select epoch, worker
from intent_ledger.in_flight
where
    ledger = $1
    and intent = $2;
