-- Appending to the ledger: ledger/appender.py.

-- name: batch
select verdict, first_position, at, epoch, actual_version, key_intent, key_digest
from intent_ledger.append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16);

-- name: written
select position, version, at, type, body
from intent_ledger.events
where
    ledger = $1
    and stream = $2
    and version > $3
    and version <= $4
order by version;
