-- Reading the views of behaviour: projections/behaviour/page.py and projections/behaviour/anomalies.py.

-- name: page
select subject, operation, state, found
from intent_ledger.behaviour
where
    ledger = $1
    and subject not like 'role/%'
    and ($2::text is null or substr(subject, strpos(subject, '/') + 1) = $2)
    and ($3::text is null or operation = $3)
    and ($4::text is null or (subject, operation) > ($4, $5::text))
order by subject, operation
limit $6;

-- name: found
select subject, operation, state, found
from intent_ledger.behaviour
where
    ledger = $1
    and found > $2
order by found
limit $3;

-- name: anomalies
select
    anomaly, position, at, kind, whose, name, operation, found_position, found_at, intent, grants, evidence, sentence,
    response, suspended, stands_until, cleared_at, cleared_by, note
from intent_ledger.anomalies
where
    ledger = $1
    and ($2::text is null or name = $2)
    and ($3::text is null or operation = $3)
    and ($4::text is null or kind = $4)
    and ($5::text is null or response = $5)
    and ($6::boolean is null or (cleared_at is null and stands_until > $7) = $6)
    and ($8::timestamptz is null or at >= $8)
    and ($9::timestamptz is null or at < $9)
    and ($10::bigint is null or position < $10)
order by position desc
limit $11;

-- name: standing
select anomaly, kind, whose, name, response
from intent_ledger.anomalies
where
    ledger = $1
    and cleared_at is null
    and stands_until > $2
order by position desc
limit $3;

-- name: told
select anomaly
from intent_ledger.anomalies
where
    ledger = $1
    and anomaly = any($2::text[]);
