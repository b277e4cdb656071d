-- Appending to the ledger: ledger/appender.py.

-- name: batch
select verdict, first_position, at, epoch, actual_version, key_intent, key_digest, like_intent, lacking
from intent_ledger.append($1, $2, $3);

-- name: written
select position, version, at, type, body
from intent_ledger.events
where
    ledger = $1
    and stream = $2
    and version > $3
    and version <= $4
order by version;
