-- Moving a ledger in a file: ledger/moving.py.

-- name: checkpoints
select size, note
from intent_ledger.log_checkpoints
where
    ledger = $1
    and size > $2
    and size <= $3
order by size
limit $4;

-- name: subjects
select json_build_object(
    'kind', 'keyring',
    'sha256', encode(index_sha256, 'hex')
)::text as subject
from intent_ledger.keyrings
where ledger = $1
union all
select json_build_object(
    'kind', 'key',
    'key_id', key_id,
    'mark', encode(mark, 'hex'),
    'master', master,
    'wrapped', encode(wrapped, 'hex')
)::text
from intent_ledger.subject_keys
where ledger = $1
union all
select json_build_object(
    'kind', 'erased',
    'key_id', key_id,
    'mark', encode(mark, 'hex')
)::text
from intent_ledger.erased_subjects
where ledger = $1
order by 1;

-- name: claim
insert into intent_ledger.heads (ledger)
values ($1)
on conflict (ledger) do nothing;

-- name: is_empty
select head.position = 0
    and not exists (
        select
        from intent_ledger.events
        where events.ledger = $1
    )
    and not exists (
        select
        from intent_ledger.log_checkpoints
        where log_checkpoints.ledger = $1
    )
from intent_ledger.heads as head
where head.ledger = $1
for update;

-- name: tiles
insert into intent_ledger.log_tiles (ledger, level, number, hashes)
select $1, level, number, hashes
from unnest($2::integer[], $3::bigint[], $4::bytea[]) as tile (level, number, hashes);

-- name: add_checkpoints
insert into intent_ledger.log_checkpoints (ledger, size, note)
select $1, size, note
from unnest($2::bigint[], $3::text[]) as checkpoint (size, note);

-- name: add_subjects
with sent as (
    select *
    from json_to_recordset($2::text::json) as sent (
        kind text, key_id text, mark text, master text, wrapped text, sha256 text
    )
),
keyring as (
    insert into intent_ledger.keyrings (ledger, index_sha256)
    select $1, decode(sha256, 'hex')
    from sent
    where kind = 'keyring'
),
erased as (
    insert into intent_ledger.erased_subjects (ledger, key_id, mark)
    select $1, key_id, decode(mark, 'hex')
    from sent
    where kind = 'erased'
)
insert into intent_ledger.subject_keys (ledger, key_id, mark, master, wrapped)
select $1, key_id, decode(mark, 'hex'), master, decode(wrapped, 'hex')
from sent
where kind = 'key';

-- name: erased_all_the_same
select kept.key_id
from intent_ledger.subject_keys as kept
where
    kept.ledger = $1
    and exists (
        select
        from intent_ledger.events
        where
            events.ledger = $1
            and events.stream = 'subject/' || kept.key_id
    )
limit 1;

-- name: move_head
update intent_ledger.heads
set
    position = $2,
    at = greatest(at, $3)
where ledger = $1;
