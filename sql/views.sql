-- Following the ledger: projections/follower.py.

-- name: open
insert into intent_ledger.projections (ledger, name, revision)
select $1, name, revision
from unnest($2::text[], $3::integer[]) as opened (name, revision)
on conflict (ledger, name) do nothing;

-- name: take
select name, position, failure, revision
from intent_ledger.projections
where
    ledger = $1
    and name = any($2::text[])
order by name
for update skip locked;

-- name: checkpoints
select name, position, failure, revision
from intent_ledger.projections
where
    ledger = $1
    and name = any($2::text[])
order by name;

-- name: hold
select name, position, failure, revision
from intent_ledger.projections
where
    ledger = $1
    and name = any($2::text[])
order by name
for update;

-- name: unbounded
select
    set_config('statement_timeout', '0', true),
    set_config('idle_in_transaction_session_timeout', '0', true);

-- name: move
update intent_ledger.projections as checkpoint
set
    position = moved.position,
    failure = moved.failure
from unnest($2::text[], $3::bigint[], $4::text[]) as moved (name, position, failure)
where
    checkpoint.ledger = $1
    and checkpoint.name = moved.name;

-- name: swapped
update intent_ledger.projections
set
    position = $3,
    failure = null,
    revision = $4
where
    ledger = $1
    and name = $2;

-- name: begin_rebuild
select pg_try_advisory_lock(hashtextextended('views of ' || $1, 0));

-- name: end_rebuild
select pg_advisory_unlock(hashtextextended('views of ' || $1, 0));

-- name: earlier
select event.position, event.stream, event.version, event.type, event.at, event.body
from unnest($2::text[], $3::bigint[]) as wanted (stream, version)
join intent_ledger.events as event
    on event.ledger = $1
    and event.stream = wanted.stream
    and event.version < wanted.version
order by event.stream, event.version;

-- Reading the views: projections/intents.py, undo_candidates.py, tasks.py, audit_search.py, exposure.py, custody.py.

-- name: fresh_plan
set local plan_cache_mode = force_custom_plan;

-- name: position
select position
from intent_ledger.projections
where
    ledger = $1
    and name = $2;

-- name: intents
select intent, version
from intent_ledger.intents
where
    ledger = $1
    and ($2::text is null or phase = $2)
    and ($3::text is null or agent = $3)
    and ($4::text is null or task = $4)
    and ($5::text is null or commissioned_by = $5)
    and ($6::text is null or $6 = any(operations))
    and ($7::boolean is null or attention = $7)
    and ($8::text is null or follows = $8)
    and (
        $9::text is null
        or (
            escalated_to = $9
            and not exists (
                select
                from intent_ledger.intents as next
                where
                    next.ledger = $1
                    and next.follows = intents.intent
            )
        )
    )
    and ($10::text is null or custody @> array[$10])
    and ($11::text is null or intent < $11)
order by intent desc
limit $12;

-- name: undo_candidates
select intent, version
from intent_ledger.intents
where
    ledger = $1
    and phase <> all('{denied,aborted,simulated}')
    and ($2::text is null or agent = $2)
    and ($3::text is null or custody @> array[$3])
    and ($4::text is null or task = $4)
    and ($5::text is null or $5 = any(operations))
    and ($6::timestamptz is null or updated_at >= $6)
    and ($7::timestamptz is null or submitted_at < $7)
    and ($8::text is null or intent < $8)
order by intent desc
limit $9;

-- name: workflow
select intent, version
from intent_ledger.intents
where
    ledger = $1
    and task = $2
    and ($3::text is null or intent > $3)
order by intent
limit $4;

-- name: tasks
-- Those that are defined, by the range of their streams, and those that intents name, skipping from one to the next.
with recursive
    defined as (
        select substr(stream, length('task/') + 1) as task, body
        from intent_ledger.events
        where
            ledger = $1
            and stream > 'task/' || $2
            and stream < 'task0' -- the character after the slash
            and version = 1
        order by stream
        limit $3
    ),
    named (task, place) as (
        (
            select task, 1
            from intent_ledger.intents
            where
                ledger = $1
                and task > $2
            order by task
            limit 1
        )
        union all
        select later.task, named.place + 1
        from named
        cross join lateral (
            select task
            from intent_ledger.intents
            where
                ledger = $1
                and task > named.task
            order by task
            limit 1
        ) as later
        where named.place < $3
    )
select task, defined.body
from defined
full join named using (task)
order by task
limit $3;

-- name: contract
select body
from intent_ledger.events
where
    ledger = $1
    and stream = 'task/' || $2
    and version = 1;

-- name: streams
select event.position, event.stream, event.version, event.type, event.at, event.body
from unnest($2::text[], $3::bigint[]) as wanted (stream, version)
join intent_ledger.events as event
    on event.ledger = $1
    and event.stream = wanted.stream
    and event.version <= wanted.version
order by event.stream, event.version;

-- name: audit_held
-- An export waits for whoever takes it, between statements.
set local idle_in_transaction_session_timeout = 0;

-- name: audit_bounds
-- The positions that two times stand for: times never go back while positions go on.
select
    case
        when $3::timestamptz is null then (
            select max(position)
            from intent_ledger.audit
            where ledger = $1
        )
        else (
            select position
            from intent_ledger.audit
            where
                ledger = $1
                and at < $3
            order by at desc, position desc
            limit 1
        )
    end as newest,
    case
        when $2::timestamptz is null then 1
        else (
            select position
            from intent_ledger.audit
            where
                ledger = $1
                and at >= $2
            order by at, position
            limit 1
        )
    end as oldest;

-- name: audit_all
select
    position,
    coalesce(octet_length(facts), 0) + coalesce(octet_length(confirmed), 0) + coalesce(octet_length(detail), 0) as bytes
from intent_ledger.audit
where
    ledger = $1
    and position between $2 and $3
order by position desc
limit $4;

-- name: audit_found
-- From segment to segment, newest first, until there are enough. Within one, terms alone choose: `offset 0` keeps other
-- conditions out, and with them other indexes. What has the same hash by chance is seen through afterwards.
select
    found.position,
    coalesce(octet_length(found.facts), 0)
    + coalesce(octet_length(found.confirmed), 0)
    + coalesce(octet_length(found.detail), 0) as bytes
from generate_series($3::bigint >> 15, $2::bigint >> 15, -1) as segment (number)
cross join lateral (
    select
        intent_ledger.audit_terms(
            $1, segment.number, $4, $5, $6, $11, $10, $9, null, null, array[$7], array[$8], array[$12]
        ) as exactly,
        case
            when $7::text is not null then intent_ledger.audit_terms(
                $1, segment.number, $4, $5, $6, $11, $10, $9, null, null, array[split_part($7, '.', 1) || '.*'],
                array[$8], array[$12]
            )
        end as by_adapter, -- a grant's are patterns
        case
            when $7::text is not null then intent_ledger.audit_terms(
                $1, segment.number, $4, $5, $6, $11, $10, $9, null, null, array['*'],
                array[$8], array[$12]
            )
        end as by_any
    offset 0
) as wanted
cross join lateral (
    select *
    from (
        select *
        from (
            select
                *,
                intent_ledger.audit_terms(
                    ledger, position >> 15, agent, commissioned_by, task, by, kind, outcome, verification, policy_set,
                    operations, policies, custody
                ) as terms
            from intent_ledger.audit
        ) as entry
        where
            terms @> wanted.exactly
            or terms @> wanted.by_adapter
            or terms @> wanted.by_any
        offset 0
    ) as alike
    where
        ledger = $1
        and position between $2 and $3
        and ($4::text is null or agent = $4)
        and ($5::text is null or commissioned_by = $5)
        and ($6::text is null or task = $6)
        and ($7::text is null or operations && array[$7, split_part($7, '.', 1) || '.*', '*'])
        and ($8::text is null or $8 = any(policies) or policy_set = $8)
        and ($9::text is null or outcome = $9 or verification = $9)
        and ($10::text is null or kind = $10)
        and ($11::text is null or by = $11)
        and ($12::text is null or $12 = any(custody))
    order by position desc
    limit $13
) as found
limit $13;

-- name: audit_entries
select
    stream, version, position, at, kind, agent_kind, agent, agent_version, by, task, commissioned_by, grant_id, custody,
    policies, policy_set, actions, operations, summaries, outcome, reason, attention, outcome_position, outcome_at,
    digest, follows, verification, failure_mode, escalated_to, detail, effect, facts, confirmed, approved_by,
    decision_position
from intent_ledger.audit
where
    ledger = $1
    and position = any($2::bigint[])
order by position desc;

-- name: exposure_groups
select
    agent,
    adapter,
    count(*) filter (where exposure = 'held') as held,
    count(*) filter (where exposure = 'promised') as promised,
    count(*) filter (where exposure = 'in_doubt') as in_doubt,
    min(since) as oldest
from intent_ledger.exposure
where
    ledger = $1
    and exposure is not null
group by agent, adapter
order by agent, adapter;

-- name: exposure_actions
select intent, action, agent, adapter, operation, exposure, since
from intent_ledger.exposure
where
    ledger = $1
    and exposure is not null
order by since, intent, action
limit $2;

-- name: beginnings
select position, stream, version, type, at, body
from intent_ledger.events
where
    ledger = $1
    and stream > $2
    and stream < $3
    and version = 1
order by stream
limit $4;
