-- Runs and their paths: projections/timeline/view.py. How far spans were exported: gateway/span_exporter.py.

-- name: paths
-- The newest intents put together into runs, and the runs by their paths. A path is text here, a step a line.
with
    newest as (
        select intent, task, run, agent, path, submitted_at, ended_at
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
        limit $8
    ),
    runs as (
        select
            task,
            string_agg(array_to_string(path, e'\n'), e'\n' order by intent) as path,
            count(*) as intents,
            min(intent) as intent,
            min(agent) as agent,
            min(submitted_at) as began,
            case when bool_and(ended_at is not null) then extract(epoch from max(ended_at) - min(submitted_at)) end as seconds
        from newest
        group by task, run
    )
select
    task,
    path,
    count(*) as runs,
    sum(intents)::bigint as intents,
    array_agg(distinct agent) as agents,
    min(began) as first_at,
    max(began) as last_at,
    (percentile_disc(0.5) within group (order by seconds))::float8 as seconds_median,
    max(seconds)::float8 as seconds_max,
    (array_agg(intent order by intent desc))[1:3] as examples,
    (select count(*) from newest) as looked_at,
    (select min(intent) from newest) as oldest
from runs
group by task, path
order by runs desc, last_at desc, task, path
limit $9;

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
