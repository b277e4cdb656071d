-- Mechanism only: what may be appended, and when, is decided by those who call.
--
-- One call is one transaction for a batch of items that know nothing of one another. It takes the head first; the
-- statement after it therefore sees everything that was committed before, and nothing can change until it commits.
-- The items of a batch name different streams and different submission keys; the caller sees to that.
--
-- An item is judged in this order: its stream's version, its epoch, its key. Its events have consecutive positions.

create function intent_ledger.append(
    in_ledger text,
    -- one element for each item
    in_streams text[],
    in_expected bigint[],  -- the stream's version; null: any
    in_counts integer[],  -- how many of the events are this item's
    in_intents text[],  -- whose row in flight the epoch and the work are about
    in_epochs bigint[],  -- guard: the row's epoch; null: none
    in_subjects text[],  -- guard: subject and key are unused, and claimed by this item; null: none
    in_keys text[],
    in_digests text[],
    in_works text[],  -- take, due, parked, finished; null: none
    in_workers text[],  -- take: by whom
    in_lease_seconds double precision[],  -- take: for how long
    in_due_at timestamptz[],  -- due: from when; null: at once
    -- one element for each event, in the order of the items
    in_items integer[],  -- the item, from 1
    in_types text[],
    in_bodies bytea[]
)
returns table (
    verdict text,  -- appended, version, epoch, key
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
            *,
            sum(count) over (order by item) - count as events_before
        from unnest(
            in_streams, in_expected, in_counts, in_intents, in_epochs, in_subjects, in_keys, in_digests,
            in_works, in_workers, in_lease_seconds, in_due_at
        ) with ordinality as item (
            stream, expected, count, intent, guard_epoch, subject, key, digest,
            work, worker, lease_seconds, due_at, item
        )
    ),
    judged as (
        select
            item.*,
            seen.version,
            submission.intent as key_intent,
            submission.request_digest as key_digest,
            case
                when expected <> seen.version then 'version'
                when guard_epoch is not null and guard_epoch is distinct from (
                    select in_flight.epoch
                    from intent_ledger.in_flight
                    where in_flight.ledger = in_ledger and in_flight.intent = item.intent
                ) then 'epoch'
                when submission.intent is not null then 'key'
                else 'appended'
            end as verdict
        from item
        cross join lateral (
            select coalesce(max(events.version), 0) as version
            from intent_ledger.events
            where events.ledger = in_ledger and events.stream = item.stream
        ) as seen
        left join lateral (
            select submissions.intent, submissions.request_digest
            from intent_ledger.submissions
            where submissions.ledger = in_ledger and submissions.subject = item.subject and submissions.key = item.key
            limit 1
        ) as submission on item.key is not null
    ),
    good as materialized (
        select
            judged.*,
            head.position + 1 + sum(count) over (order by item) - count as first_position,
            case when work is not null and work <> 'finished' then nextval('intent_ledger.epochs') end as new_epoch
        from judged
        where verdict = 'appended'
    ),
    written as (
        insert into intent_ledger.events (ledger, position, stream, version, type, at, body)
        select
            in_ledger,
            good.first_position + event.number - good.events_before - 1,
            good.stream,
            good.version + event.number - good.events_before,
            event.type,
            head.at,
            event.body
        from unnest(in_items, in_types, in_bodies) with ordinality as event (item, type, body, number)
        join good on good.item = event.item
    ),
    claimed as (
        insert into intent_ledger.submissions (ledger, subject, key, intent, request_digest)
        select in_ledger, subject, key, intent, digest
        from good
        where key is not null
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
        from good
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
            and in_flight.intent = any (array(select intent from good where work = 'finished'))
    ),
    advanced as (
        update intent_ledger.heads
        set
            position = head.position + (select coalesce(sum(count), 0) from good),
            at = head.at
        where heads.ledger = in_ledger
    )
    select
        judged.verdict,
        good.first_position::bigint,
        head.at,
        case when good.work = 'take' then good.new_epoch end,
        judged.version,
        judged.key_intent,
        judged.key_digest
    from judged
    left join good on good.item = judged.item
    order by judged.item;
end
$$;

comment on function intent_ledger.append is
    'Appends a batch of items in one transaction, each judged by itself, and answers one row for each in their order.';

revoke all on function intent_ledger.append from public;
grant execute on function intent_ledger.append to intent_ledger_app;
