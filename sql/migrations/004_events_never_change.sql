-- Append-only is a privilege first (the service's role has no others). This is the second lock, for owners and
-- superusers too, in every replication role. SQLSTATE ILA01 is ours.

create function intent_ledger.refuse_change()
returns trigger
language plpgsql
set search_path = pg_catalog
as $$
begin
    raise exception using
        errcode = 'ILA01',
        message = format('Events never change: %s on intent_ledger.events was refused.', lower(tg_op)),
        hint = 'Nothing was changed. A wrong fact is corrected by appending another.';
end
$$;

create trigger events_never_change
before update or delete on intent_ledger.events
for each row execute function intent_ledger.refuse_change();

create trigger events_are_never_truncated
before truncate on intent_ledger.events
for each statement execute function intent_ledger.refuse_change();

alter table intent_ledger.events enable always trigger events_never_change;
alter table intent_ledger.events enable always trigger events_are_never_truncated;
