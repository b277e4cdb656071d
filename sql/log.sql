-- The Merkle log: ledger/log/tree.py.

-- name: keep
select pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended('log of ' || $1, 0));

-- name: keep_away
select pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtextextended('log of ' || $1, 0));

-- name: let_go
select pg_catalog.pg_advisory_unlock(pg_catalog.hashtextextended('log of ' || $1, 0));

-- name: newest
select size, at, note
from intent_ledger.log_checkpoints
where ledger = $1
order by size desc
limit 1;

-- name: best_covering
select size, at, note
from (
    select size, at, note
    from intent_ledger.log_checkpoints
    where
        ledger = $1
        and size >= $2
    order by size
    limit $3
) as covering
order by
    pg_catalog.regexp_count(note, '\n— ') desc,
    size
limit 1;

-- name: tiles
select tile.level, tile.number, tile.hashes
from unnest($2::integer[], $3::bigint[]) as wanted (level, number)
join intent_ledger.log_tiles as tile
    on
        tile.ledger = $1
        and tile.level = wanted.level
        and tile.number = wanted.number;

-- name: entries
select position, stream, version, type, at, body
from intent_ledger.events
where
    ledger = $1
    and position > $2
order by position
limit $3;

-- name: extend
with tiles as (
    insert into intent_ledger.log_tiles (ledger, level, number, hashes)
    select $1, tile.level, tile.number, tile.hashes
    from unnest($2::integer[], $3::bigint[], $4::bytea[]) as tile (level, number, hashes)
    on conflict (ledger, level, number) do update set hashes = excluded.hashes
)

insert into intent_ledger.log_checkpoints (ledger, size, note)
values ($1, $5, $6)
on conflict (ledger, size) do update set note = excluded.note
returning at;

-- name: cosign
update intent_ledger.log_checkpoints
set note = note || $3
where
    ledger = $1
    and size = $2
    and pg_catalog.strpos(note, $4) = 0;

-- name: thin
select intent_ledger.thin_log($1, $2);

-- name: end_tiles
delete from intent_ledger.log_tiles
where ledger = $1;

-- name: end_checkpoints
delete from intent_ledger.log_checkpoints
where ledger = $1;
