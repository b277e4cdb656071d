create function intent_ledger.renew(
    in_ledger text,
    in_worker text,
    in_intents text[],
    in_epochs bigint[],
    in_lease_seconds double precision
)
returns setof text
language plpgsql
volatile
set search_path = pg_catalog
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
begin
    perform 1
    from intent_ledger.heads
    where ledger = in_ledger
    for update;

    return query
    update intent_ledger.in_flight
    set due_at = clock_timestamp() + make_interval(secs => in_lease_seconds)
    from unnest(in_intents, in_epochs) as held (intent, epoch)
    where
        in_flight.ledger = in_ledger
        and in_flight.intent = held.intent
        and in_flight.epoch = held.epoch
        and in_flight.worker = in_worker
    returning in_flight.intent;
end
$$;

comment on function intent_ledger.renew is
    'Extends the leases that a worker still holds under the epochs it names, and answers with their intents.';

revoke all on function intent_ledger.renew from public;
grant execute on function intent_ledger.renew to intent_ledger_app;
