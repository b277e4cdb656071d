-- The append of 007_append.sql, grown by what authority asks of it. Mechanism only, as before: what is guarded, charged
-- or changed, and when, is decided by those who call. All of it happens under the head, in the one transaction.
--
-- An item may also have:
--
--   grant                        guard: this grant is alive; with work = take, the intent goes in flight under it
--   policy                       guard: this policy set is the active one ('': none)
--   likeness, window_seconds     guard: nothing like it was submitted within the window; with a key, which it goes with
--   besides                      ... but for these intents, which count no more once the item is good
--   charges                      guard: [{limit, per, amount, max}], all of which have room; a good item takes from all
--   beside                       {change, restore, notify, besides}: what a good item does beside its events
--
-- An item is judged in this order: version, epoch, grant, key, policy, likeness, limits. `charge` comes last because it
-- acts: items are judged one after another, so what one of them takes the next one sees. Two items with one likeness
-- never share a batch, and an item with a change shares it with no other; the caller sees to that.

create function intent_ledger.change(in_ledger text, in_at timestamptz, in_stream text, in_change jsonb)
returns void
language plpgsql
volatile
set search_path = pg_catalog
set enable_nestloop = on
as $$
begin
    case in_change ->> 'verb'
        when 'issue' then
            insert into intent_ledger.grants (ledger, grant_id, parent, token_sha256, expires_at, revoked, issued)
            select
                in_ledger,
                issued.grant_id,
                issued.parent,
                issued.token_sha256,
                coalesce(least(issued.expires_at, above.expires_at), 'infinity'),
                coalesce(above.revoked, false),
                events.body
            from jsonb_to_record(in_change) as issued (
                grant_id text, parent text, token_sha256 text, expires_at timestamptz, version bigint
            )
            join intent_ledger.events
                on events.ledger = in_ledger and events.stream = in_stream and events.version = issued.version
            left join intent_ledger.grants as above
                on above.ledger = in_ledger and above.grant_id = issued.parent;

        when 'revoke' then
            with recursive dead as (
                select grants.grant_id
                from intent_ledger.grants
                where grants.ledger = in_ledger and grants.grant_id = in_change ->> 'grant_id'
                union all
                select grants.grant_id
                from dead
                join intent_ledger.grants on grants.ledger = in_ledger and grants.parent = dead.grant_id
            ),
            marked as (
                update intent_ledger.grants
                set revoked = true
                where
                    grants.ledger = in_ledger
                    and grants.grant_id = any (array(select dead.grant_id from dead))
                    and not grants.revoked
            )
            update intent_ledger.in_flight
            set due_at = in_at
            where
                in_flight.ledger = in_ledger
                and in_flight.grant_id = any (array(select dead.grant_id from dead))
                and in_flight.worker is null
                and in_flight.due_at > in_at;

        when 'activate' then
            update intent_ledger.heads
            set policy_set = in_change ->> 'policy_set'
            where heads.ledger = in_ledger;
    end case;
end
$$;

comment on function intent_ledger.change is
    'Changes authority: issues a grant, revokes one with all below it, or activates a policy set. The caller holds the head.';

create function intent_ledger.do_beside(in_ledger text, in_after bigint, in_at timestamptz, in_items jsonb)
returns void
language plpgsql
volatile
set search_path = pg_catalog
as $$
declare
    good record;
begin
    for good in
        select item.stream, item.likeness, item.beside, events.position
        from jsonb_to_recordset(in_items) as item (stream text, version bigint, likeness text, beside jsonb)
        join intent_ledger.events
            on events.ledger = in_ledger
            and events.stream = item.stream
            and events.version = item.version + 1
            and events.position > in_after  -- written just now, and not by an earlier call
        where item.beside is not null
    loop
        if good.beside ? 'change' then
            perform intent_ledger.change(in_ledger, in_at, good.stream, good.beside -> 'change');
        end if;

        if good.beside ? 'restore' then
            perform intent_ledger.restore(
                in_ledger,
                (good.beside -> 'restore' ->> 'charged_at')::timestamptz,
                good.beside -> 'restore' -> 'charges'
            );
        end if;

        if good.beside ? 'notify' then
            insert into intent_ledger.outbox (ledger, position, queued_at, due_at)
            values (in_ledger, good.position + (good.beside ->> 'notify')::bigint, in_at, in_at);
        end if;

        if good.beside ? 'besides' then
            update intent_ledger.submissions
            set
                likeness = null,
                submitted_at = null
            where
                submissions.ledger = in_ledger
                and submissions.likeness = good.likeness
                and submissions.likeness is not null
                and good.beside -> 'besides' ? submissions.intent;
        end if;
    end loop;
end
$$;

comment on function intent_ledger.do_beside is
    'Does what the items of a batch that were written after a position ask for beside their events.';

grant update (likeness, submitted_at) on intent_ledger.submissions to intent_ledger_app;

drop function intent_ledger.append;

create function intent_ledger.append(in_ledger text, in_items jsonb, in_bodies bytea[])
returns table (
    verdict text,  -- appended | version | epoch | grant | key | policy | likeness | limits
    first_position bigint,
    at timestamptz,
    epoch bigint,  -- take: the new one
    actual_version bigint,
    key_intent text,
    key_digest text,
    like_intent text,
    lacking jsonb  -- limits: {limit, used}
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
            alike.intent as like_intent,
            case
                when item.version <> stands.version then 'version'
                when item.epoch <> coalesce(flight.epoch, 0) then 'epoch'
                when item.grant is not null and standing.alive is not true then 'grant'
                when submission.intent is not null then 'key'
                when item.policy <> coalesce(head.policy_set, '') then 'policy'
                when alike.intent is not null then 'likeness'
                else 'appended'
            end as verdict
        from rows from (
            jsonb_to_recordset(in_items) as (
                stream text,
                version bigint,
                types text[],
                intent text,
                epoch bigint,
                "grant" text,
                subject text,
                key text,
                digest text,
                policy text,
                likeness text,
                window_seconds double precision,
                besides text[],
                charges jsonb,
                work text,
                worker text,
                lease_seconds double precision,
                due_at timestamptz
            )
        ) with ordinality as item (
            stream, version, types, intent, epoch, "grant", subject, key, digest, policy, likeness, window_seconds,
            besides, charges, work, worker, lease_seconds, due_at, number
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
            select not grants.revoked and grants.expires_at > head.at as alive
            from intent_ledger.grants
            where grants.ledger = in_ledger and grants.grant_id = item.grant
            limit 1
        ) as standing on item.grant is not null
        left join lateral (
            select submissions.intent, submissions.request_digest
            from intent_ledger.submissions
            where submissions.ledger = in_ledger and submissions.subject = item.subject and submissions.key = item.key
            limit 1
        ) as submission on item.key is not null
        left join lateral (
            select submissions.intent
            from intent_ledger.submissions
            where
                submissions.ledger = in_ledger
                and submissions.likeness = item.likeness
                and submissions.likeness is not null
                and submissions.submitted_at > head.at - make_interval(secs => item.window_seconds)
                and submissions.intent <> all (coalesce(item.besides, '{}'))
            order by submissions.submitted_at desc
            limit 1
        ) as alike on item.likeness is not null
    ),
    judged as (
        select
            item.*,
            case
                when verdict = 'appended' and charges is not null
                    then intent_ledger.charge(in_ledger, head.at, charges)
            end as lacking
        from item
    ),
    placed as materialized (
        select
            judged.*,
            sum(count) over (order by number) - count as bodies_before,
            sum(count) filter (where verdict = 'appended' and lacking is null) over (order by number) - count
                as events_before,
            verdict = 'appended' and lacking is null as is_good,
            case
                when verdict = 'appended' and lacking is null and work <> 'finished'
                    then nextval('intent_ledger.epochs')
            end as new_epoch
        from judged
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
        where placed.is_good
    ),
    claimed as (
        insert into intent_ledger.submissions (ledger, subject, key, intent, request_digest, likeness, submitted_at)
        select in_ledger, subject, key, intent, digest, likeness, case when likeness is not null then head.at end
        from placed
        where is_good and key is not null
    ),
    moved as (
        insert into intent_ledger.in_flight as in_flight (ledger, intent, due_at, epoch, worker, grant_id)
        select
            in_ledger,
            intent,
            case work
                when 'take' then head.at + make_interval(secs => lease_seconds)
                when 'due' then coalesce(due_at, head.at)
                when 'parked' then 'infinity'
            end,
            new_epoch,
            worker,
            case when work = 'take' then placed.grant end
        from placed
        where new_epoch is not null
        on conflict (ledger, intent) do update
        set
            due_at = excluded.due_at,
            epoch = case when excluded.worker is null then in_flight.epoch else excluded.epoch end,
            worker = excluded.worker,
            grant_id = coalesce(in_flight.grant_id, excluded.grant_id)
    ),
    finished as (
        delete from intent_ledger.in_flight
        where
            in_flight.ledger = in_ledger
            and in_flight.intent = any (
                array(
                    select intent
                    from placed
                    where is_good and work = 'finished'
                )
            )
    ),
    advanced as (
        update intent_ledger.heads
        set
            position = head.position + (
                select coalesce(sum(count), 0)
                from placed
                where is_good
            ),
            at = head.at
        where heads.ledger = in_ledger
    )
    select
        case when lacking is null then verdict else 'limits' end,
        head.position + events_before::bigint + 1,
        head.at,
        case when work = 'take' then new_epoch end,
        actual_version,
        key_intent,
        key_digest,
        like_intent,
        lacking
    from placed
    order by number;

    if in_items @? '$[*].beside' then
        perform intent_ledger.do_beside(in_ledger, head.position, head.at, in_items);
    end if;
end
$$;

comment on function intent_ledger.append is
    'Appends a batch of items in one transaction, each judged by itself, and answers one row for each in their order.';

revoke all on function intent_ledger.change, intent_ledger.do_beside, intent_ledger.append from public;
grant execute on function intent_ledger.change, intent_ledger.do_beside, intent_ledger.append to intent_ledger_app;
