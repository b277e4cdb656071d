-- Runs and their paths: projections/timeline.py. How far spans were exported: gateway/span_exporter.py.

-- name: newest
select intent, task, run, agent, agent_version, phase, path, submitted_at, ended_at
from intent_ledger.timeline
where
    ledger = $1
    and ($2::text is null or task = $2)
    and ($3::text is null or agent = $3)
    and ($4::timestamptz is null or submitted_at >= $4)
    and ($5::timestamptz is null or submitted_at < $5)
    and ($6::text is null or custody @> array[$6])
    and ($7::text is null or intent < $7)
order by intent desc
limit $8;

-- name: run
select intent
from intent_ledger.timeline
where
    ledger = $1
    and run = $2
    and task is not distinct from $3
order by intent
limit $4;

-- name: open_export
insert into intent_ledger.exports (ledger, name, position)
values ($1, $2, $3)
on conflict (ledger, name) do nothing;

-- name: hold_export
update intent_ledger.exports
set
    holder = $3,
    held_until = clock_timestamp() + make_interval(secs => $4)
where
    ledger = $1
    and name = $2
    and (holder is null or holder = $3 or held_until < clock_timestamp())
returning position;

-- name: move_export
update intent_ledger.exports
set position = $4
where
    ledger = $1
    and name = $2
    and holder = $3;

-- name: release_export
update intent_ledger.exports
set
    holder = null,
    held_until = null
where
    ledger = $1
    and name = $2
    and holder = $3;
