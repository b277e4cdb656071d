-- Mechanism only: what may be appended, and when, is decided by those who call.
--
-- One call is one transaction for a batch of items that know nothing of one another. It takes the head first; the
-- statement after it therefore sees everything that was committed before, and nothing can change until it commits.
-- The items of a batch name different streams and different submission keys; the caller sees to that.
--
-- An item is an object; what it does not need it leaves out:
--
--   stream, version              where its events go, and the version the stream must have (left out: any)
--   types                        the type of each of its events; their bodies follow one another in in_bodies
--   intent                       whose epoch and work this is about
--   epoch                        guard: the intent's epoch in flight
--   subject, key, digest         guard: this subject has not used this key; the item claims it for the intent
--   work                         take | due | parked | finished
--   worker, lease_seconds        take: by whom and for how long
--   due_at                       due: from when on (left out: at once)
--
-- An item is judged in this order: version, epoch, key. The events of a good one have consecutive positions.

create function intent_ledger.append(in_ledger text, in_items jsonb, in_bodies bytea[])
returns table (
    verdict text,  -- appended | version | epoch | key
    first_position bigint,
    at timestamptz,
    epoch bigint,  -- take: the new one
    actual_version bigint,
    key_intent text,
    key_digest text
)
language plpgsql
volatile
set search_path = pg_catalog
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_nestloop = off
as $$
#variable_conflict use_column
declare
    head intent_ledger.heads;
begin
    select *
    into head
    from intent_ledger.heads
    where ledger = in_ledger
    for update;

    if not found then
        raise exception using errcode = 'ILA02', message = format('There is no ledger named %L.', in_ledger);
    end if;

    head.at := greatest(head.at, clock_timestamp());

    return query
    with item as (
        select
            item.*,
            coalesce(cardinality(item.types), 0) as count,
            stands.version as actual_version,
            submission.intent as key_intent,
            submission.request_digest as key_digest,
            case
                when item.version <> stands.version then 'version'
                when item.epoch <> coalesce(flight.epoch, 0) then 'epoch'
                when submission.intent is not null then 'key'
                else 'appended'
            end as verdict
        from rows from (
            jsonb_to_recordset(in_items) as (
                stream text,
                version bigint,
                types text[],
                intent text,
                epoch bigint,
                subject text,
                key text,
                digest text,
                work text,
                worker text,
                lease_seconds double precision,
                due_at timestamptz
            )
        ) with ordinality as item (
            stream, version, types, intent, epoch, subject, key, digest, work, worker, lease_seconds, due_at, number
        )
        cross join lateral (
            select coalesce(max(events.version), 0) as version
            from intent_ledger.events
            where events.ledger = in_ledger and events.stream = item.stream
        ) as stands
        left join lateral (
            select in_flight.epoch
            from intent_ledger.in_flight
            where in_flight.ledger = in_ledger and in_flight.intent = item.intent
            limit 1
        ) as flight on item.epoch is not null
        left join lateral (
            select submissions.intent, submissions.request_digest
            from intent_ledger.submissions
            where submissions.ledger = in_ledger and submissions.subject = item.subject and submissions.key = item.key
            limit 1
        ) as submission on item.key is not null
    ),
    placed as materialized (
        select
            item.*,
            sum(count) over (order by number) - count as bodies_before,
            sum(count) filter (where verdict = 'appended') over (order by number) - count as events_before,
            case
                when verdict = 'appended' and work <> 'finished' then nextval('intent_ledger.epochs')
            end as new_epoch
        from item
    ),
    written as (
        insert into intent_ledger.events (ledger, position, stream, version, type, at, body)
        select
            in_ledger,
            head.position + placed.events_before + event.number,
            placed.stream,
            placed.version + event.number,
            event.type,
            head.at,
            body.body
        from placed
        cross join lateral unnest(placed.types) with ordinality as event (type, number)
        join unnest(in_bodies) with ordinality as body (body, number)
            on body.number = placed.bodies_before + event.number
        where placed.verdict = 'appended'
    ),
    claimed as (
        insert into intent_ledger.submissions (ledger, subject, key, intent, request_digest)
        select in_ledger, subject, key, intent, digest
        from placed
        where verdict = 'appended' and key is not null
    ),
    moved as (
        insert into intent_ledger.in_flight as in_flight (ledger, intent, due_at, epoch, worker)
        select
            in_ledger,
            intent,
            case work
                when 'take' then head.at + make_interval(secs => lease_seconds)
                when 'due' then coalesce(due_at, head.at)
                when 'parked' then 'infinity'
            end,
            new_epoch,
            worker
        from placed
        where new_epoch is not null
        on conflict (ledger, intent) do update
        set
            due_at = excluded.due_at,
            epoch = case when excluded.worker is null then in_flight.epoch else excluded.epoch end,
            worker = excluded.worker
    ),
    finished as (
        delete from intent_ledger.in_flight
        where
            in_flight.ledger = in_ledger
            and in_flight.intent = any (
                array(
                    select intent
                    from placed
                    where verdict = 'appended' and work = 'finished'
                )
            )
    ),
    advanced as (
        update intent_ledger.heads
        set
            position = head.position + (
                select coalesce(sum(count), 0)
                from placed
                where verdict = 'appended'
            ),
            at = head.at
        where heads.ledger = in_ledger
    )
    select
        verdict,
        head.position + events_before::bigint + 1,
        head.at,
        case when work = 'take' then new_epoch end,
        actual_version,
        key_intent,
        key_digest
    from placed
    order by number;
end
$$;

comment on function intent_ledger.append is
    'Appends a batch of items in one transaction, each judged by itself, and answers one row for each in their order.';

revoke all on function intent_ledger.append from public;
grant execute on function intent_ledger.append to intent_ledger_app;
