-- The keys of data subjects: ledger/subject_keys.py.

-- name: bind
insert into intent_ledger.keyrings (ledger, index_sha256)
values ($1, $2)
on conflict (ledger) do nothing;

-- name: bound
select index_sha256
from intent_ledger.keyrings
where ledger = $1;

-- name: bound_to
select ledger
from intent_ledger.keyrings
where index_sha256 = $1
order by ledger;

-- name: make
insert into intent_ledger.subject_keys (ledger, key_id, mark, master, wrapped)
values ($1, $2, $3, $4, $5)
on conflict (ledger, mark) do nothing;

-- name: of_marks
select key_id, mark, master, wrapped
from intent_ledger.subject_keys
where
    ledger = $1
    and mark = any ($2::bytea[]);

-- name: living
select key_id, master, wrapped
from intent_ledger.subject_keys
where
    ledger = $1
    and key_id = any ($2::text[]);

-- name: all_living
select key_id, master, wrapped
from intent_ledger.subject_keys
where ledger = $1;

-- name: erased
select key_id
from intent_ledger.erased_subjects
where
    ledger = $1
    and mark = $2;

-- name: erase_again
delete from intent_ledger.subject_keys
where
    ledger = $1
    and key_id = any (
        array(
            select substr(events.stream, length('subject/') + 1)
            from intent_ledger.events
            where
                events.ledger = $1
                and events.stream >= 'subject/'
                and events.stream < 'subject0'
                and events.version = 1
        )
    );

-- name: wrapped_otherwise
select key_id, master, wrapped
from intent_ledger.subject_keys
where
    ledger = $1
    and master <> $2
limit $3;

-- name: rewrap
update intent_ledger.subject_keys
set
    master = $4,
    wrapped = $5
where
    ledger = $1
    and key_id = $2
    and master = $3;
