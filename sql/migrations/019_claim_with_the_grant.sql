-- The claim of 008_claim.sql, which now also tells whether the grant of each intent is alive: who takes an undecided one
-- over under a dead grant aborts it at once.

drop function intent_ledger.claim;

create function intent_ledger.claim(in_ledger text, in_worker text, in_limit integer, in_lease_seconds double precision)
returns table (intent text, epoch bigint, alive boolean)
language plpgsql
volatile
set search_path = pg_catalog
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
    moment timestamptz := clock_timestamp();
    head intent_ledger.heads;
begin
    perform 1
    from intent_ledger.in_flight
    where ledger = in_ledger and due_at <= moment and due_at < 'infinity'
    limit 1;

    if not found then
        return;  -- the usual case, and it waits for nobody
    end if;

    select *
    into head
    from intent_ledger.heads
    where ledger = in_ledger
    for update;

    head.at := greatest(head.at, clock_timestamp());

    return query
    with due as materialized (
        select in_flight.intent, in_flight.due_at
        from intent_ledger.in_flight
        where ledger = in_ledger and due_at <= moment and due_at < 'infinity'
        order by due_at
        limit in_limit
    ),
    taken as (
        update intent_ledger.in_flight
        set
            due_at = clock_timestamp() + make_interval(secs => in_lease_seconds),
            epoch = nextval('intent_ledger.epochs'),
            worker = in_worker
        from due
        where in_flight.ledger = in_ledger and in_flight.intent = due.intent
        returning in_flight.intent, in_flight.epoch, in_flight.grant_id
    )
    select
        taken.intent,
        taken.epoch,
        taken.grant_id is null or coalesce(standing.alive, false)
    from taken
    join due on due.intent = taken.intent
    left join lateral (
        select not grants.revoked and grants.expires_at > head.at as alive
        from intent_ledger.grants
        where grants.ledger = in_ledger and grants.grant_id = taken.grant_id
        limit 1
    ) as standing on true
    order by due.due_at;
end
$$;

comment on function intent_ledger.claim is
    'Gives intents that are due to a worker, the one that is due longest first, each under a new epoch.';

revoke all on function intent_ledger.claim from public;
grant execute on function intent_ledger.claim to intent_ledger_app;
