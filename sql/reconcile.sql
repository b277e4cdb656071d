-- Reconciliation with the outside: projections/divergences.py, projections/acted.py, gateway/reconciliation.py.

-- name: acted
select intent, version
from intent_ledger.intents
where
    ledger = $1
    and updated_at >= $2
    and phase = any('{committing,compensating,committed,compensated,mixed,aborted}')
order by updated_at desc, intent desc
limit $3;

-- name: divergences
select
    intent, action, aspect, operation, expected, found, reason, summary, agent, agent_version, task, commissioned_by,
    custody, position, found_at, gone_position, gone_at, cause
from intent_ledger.divergences
where
    ledger = $1
    and ($2::text is null or agent = $2)
    and ($3::text is null or task = $3)
    and ($4::text is null or operation = $4)
    and ($5::text is null or intent = $5)
    and ($6::boolean is null or (gone_position is null) = $6)
    and ($7::bigint is null or position < $7)
order by position desc
limit $8;

-- name: diverging
select distinct intent
from intent_ledger.divergences
where
    ledger = $1
    and gone_position is null
order by intent
limit $2;

-- name: schedule
insert into intent_ledger.reconciliations (ledger)
values ($1)
on conflict (ledger) do nothing;

-- name: begin
update intent_ledger.reconciliations
set
    due_at = clock_timestamp() + make_interval(secs => $2),
    begun_at = clock_timestamp()
where
    ledger = $1
    and (due_at <= clock_timestamp() or $3)
returning true;

-- name: keep
update intent_ledger.reconciliations
set due_at = clock_timestamp() + make_interval(secs => $2)
where ledger = $1;

-- name: end
update intent_ledger.reconciliations
set
    ended_at = clock_timestamp(),
    intents = $2,
    calls = $3,
    agreed = $4,
    diverged = $5,
    untold = $6
where ledger = $1;

-- name: last
select begun_at, ended_at, intents, calls, agreed, diverged, untold
from intent_ledger.reconciliations
where
    ledger = $1
    and ended_at is not null;
