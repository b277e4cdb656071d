-- The keys of data subjects: what is personal in events is sealed under them (ledger/sealing.py), and is gone for ever
-- once its key is. A key is kept wrapped under a master key that never lies in a database. Events do not tell whose key
-- it is: the mark is an HMAC of the subject's name under a key that lies beside the master key.

create table intent_ledger.subject_keys (
    ledger text collate "C" not null,
    key_id text collate "C" not null,
    mark bytea not null,
    master text collate "C" not null,
    wrapped bytea not null,
    primary key (ledger, key_id),
    unique (ledger, mark),
    check (key_id ~ '^k[0-9a-f]{20}$'),
    check (length(mark) = 32)
);

comment on table intent_ledger.subject_keys is
    'The living keys of data subjects, wrapped. Deleting a row erases what is personal of that subject, everywhere.';
comment on column intent_ledger.subject_keys.mark is 'HMAC of ledger and subject, by which the key is found.';
comment on column intent_ledger.subject_keys.master is 'The master key under which it is wrapped, by its id.';

create table intent_ledger.erased_subjects (
    ledger text collate "C" not null,
    key_id text collate "C" not null,
    mark bytea not null,
    primary key (ledger, key_id)
);

create index erased_subjects_mark on intent_ledger.erased_subjects (ledger, mark);

comment on table intent_ledger.erased_subjects is
    'The subjects whose key was destroyed, by their pseudonyms, so that erasing them again is known to be a repetition.';

create table intent_ledger.keyrings (
    ledger text collate "C" primary key,
    index_sha256 bytea not null,
    check (length(index_sha256) = 32)
);

comment on table intent_ledger.keyrings is
    'Which keyring a ledger is bound to: with another one the keys of its data subjects would not be found again.';

grant select, insert on intent_ledger.keyrings to intent_ledger_app;
grant select, insert, delete, update (master, wrapped) on intent_ledger.subject_keys to intent_ledger_app;
grant select, insert on intent_ledger.erased_subjects to intent_ledger_app;

-- What waits in flight with the data of an erased subject is due at once: undecided it is aborted, decided it asks for a
-- person. The key stands in the first event of such an intent. Rare, and bounded by what is in flight.

create function intent_ledger.subject_was_erased()
returns trigger
language plpgsql
volatile
set search_path = pg_catalog
as $$
begin
    insert into intent_ledger.erased_subjects (ledger, key_id, mark)
    values (old.ledger, old.key_id, old.mark)
    on conflict do nothing;

    update intent_ledger.in_flight
    set due_at = clock_timestamp()
    where
        in_flight.ledger = old.ledger
        and in_flight.worker is null
        and in_flight.due_at > clock_timestamp()
        and exists (
            select
            from intent_ledger.events
            where
                events.ledger = old.ledger
                and events.stream = 'intent/' || in_flight.intent
                and events.version = 1
                and position(convert_to(old.key_id, 'UTF8') in events.body) > 0
        );

    return null;
end
$$;

comment on function intent_ledger.subject_was_erased is
    'Remembers the pseudonym of a subject whose key was destroyed, and wakes what is in flight with its data.';

create trigger subject_was_erased
after delete on intent_ledger.subject_keys
for each row execute function intent_ledger.subject_was_erased();
