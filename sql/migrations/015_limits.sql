-- Windows only ever follow one another, so each counter needs but the one that is open: the first charge in a later
-- window begins it anew, and nothing has to be cleared away.

create table intent_ledger.limits (
    ledger text collate "C" not null,
    counter text collate "C" not null,
    window_start timestamptz not null,
    used bigint not null,
    primary key (ledger, counter),
    check (counter <> ''),
    check (used >= 0)
)
with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

comment on table intent_ledger.limits is
    'What decisions have taken from each limit in the window that was last charged; -infinity: a window without an end.';

grant select, insert, update on intent_ledger.limits to intent_ledger_app;

create function intent_ledger.window_start(in_per text, in_at timestamptz)
returns timestamptz
language sql
stable
return case in_per
    when 'hour' then pg_catalog.date_trunc('hour', in_at, 'UTC')
    when 'day' then pg_catalog.date_trunc('day', in_at, 'UTC')
    when 'total' then '-infinity'::timestamptz
end;

comment on function intent_ledger.window_start is
    'The start of the hour or day of the calendar in UTC that holds a moment; null, which no counter takes, for anything else.';

create function intent_ledger.charge(in_ledger text, in_at timestamptz, in_charges jsonb)
returns jsonb  -- null: charged; otherwise the first counter without room, and what is used of it: nothing was charged
language plpgsql
volatile
set search_path = pg_catalog
as $$
declare
    lacking jsonb;
begin
    select jsonb_build_object('limit', charge.limit, 'used', coalesce(counted.used, 0))
    into lacking
    from rows from (
        jsonb_to_recordset(in_charges) as ("limit" text, per text, amount bigint, max bigint)
    ) with ordinality as charge ("limit", per, amount, max, number)
    left join intent_ledger.limits as counted
        on counted.ledger = in_ledger
        and counted.counter = charge.limit
        and counted.window_start = intent_ledger.window_start(charge.per, in_at)
    where coalesce(counted.used, 0) + charge.amount > charge.max
    order by charge.number
    limit 1;

    if found then
        return lacking;
    end if;

    insert into intent_ledger.limits as counted (ledger, counter, window_start, used)
    select in_ledger, charge.limit, intent_ledger.window_start(charge.per, in_at), charge.amount
    from jsonb_to_recordset(in_charges) as charge ("limit" text, per text, amount bigint)
    on conflict (ledger, counter) do update
    set
        window_start = excluded.window_start,
        used = case when counted.window_start = excluded.window_start then counted.used else 0 end + excluded.used;

    return null;
end
$$;

comment on function intent_ledger.charge is
    'Takes from every counter, or from none if one of them has no room. The caller holds the head.';

create function intent_ledger.restore(in_ledger text, in_charged_at timestamptz, in_charges jsonb)
returns void
language sql
volatile
set search_path = pg_catalog
as $$
    update intent_ledger.limits
    set used = greatest(0, used - charge.amount)
    from jsonb_to_recordset(in_charges) as charge ("limit" text, per text, amount bigint)
    where
        limits.ledger = in_ledger
        and limits.counter = charge.limit
        and limits.window_start = intent_ledger.window_start(charge.per, in_charged_at);
$$;

comment on function intent_ledger.restore is
    'Gives back what was charged at a time, to the counters whose window of that time is still open. The caller holds the head.';

revoke all on function intent_ledger.window_start, intent_ledger.charge, intent_ledger.restore from public;
grant execute on function intent_ledger.window_start, intent_ledger.charge, intent_ledger.restore to intent_ledger_app;
