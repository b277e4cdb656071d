-- What is still to be told: ledger/outbox.py.

-- name: claim
with due as (
    select position
    from intent_ledger.outbox
    where
        ledger = $1
        and due_at <= pg_catalog.clock_timestamp()
    order by due_at
    limit $2
    for update skip locked
)
update intent_ledger.outbox
set
    due_at = pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => $3),
    attempts = outbox.attempts + 1
from due
where
    outbox.ledger = $1
    and outbox.position = due.position
returning
    outbox.position,
    outbox.attempts,
    extract(epoch from pg_catalog.clock_timestamp() - outbox.queued_at)::double precision as age_seconds;

-- name: done
delete from intent_ledger.outbox
where
    ledger = $1
    and position = $2
    and attempts = $3
returning position;

-- name: again
update intent_ledger.outbox
set due_at = pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => $4)
where
    ledger = $1
    and position = $2
    and attempts = $3
returning position;
