-- The authority that is alive, beside the events that say so. It changes only in the transaction of such an event, under
-- the head: whoever decides under a grant has either decided before its revocation or is refused after it.

create table intent_ledger.grants (
    ledger text collate "C" not null,
    grant_id text collate "C" not null,
    parent text collate "C",
    token_sha256 text collate "C" not null,
    expires_at timestamptz not null,
    revoked boolean not null,
    issued bytea not null,
    primary key (ledger, grant_id),
    unique (ledger, token_sha256),
    foreign key (ledger, parent) references intent_ledger.grants (ledger, grant_id),
    check (grant_id <> ''),
    check (parent <> grant_id),
    check (token_sha256 <> '')
);

create index grants_below on intent_ledger.grants (ledger, parent) where parent is not null;

comment on table intent_ledger.grants is
    'The grants. A revocation marks the whole subtree and no expiry is later than the parent''s, so one row tells all.';
comment on column intent_ledger.grants.expires_at is 'The earliest expiry of the grant and those above it; infinity: never.';
comment on column intent_ledger.grants.issued is 'The canonical bytes of its GrantIssued.';

grant select, insert, update (revoked) on intent_ledger.grants to intent_ledger_app;

alter table intent_ledger.heads add column policy_set text collate "C";

comment on column intent_ledger.heads.policy_set is 'The digest of the active policy set; null while the built-in one is in force.';

alter table intent_ledger.in_flight add column grant_id text collate "C";

comment on column intent_ledger.in_flight.grant_id is
    'The grant under which the intent was submitted; null: not known, and no revocation reaches it here.';

-- What release 0.1 has written. An event may hold the one escape that text cannot (\u0000, in the words of an agent), so
-- that it is read without it.

create function intent_ledger.readable(in_body bytea)
returns jsonb
language sql
immutable
return pg_catalog.regexp_replace(
    pg_catalog.convert_from(in_body, 'UTF8'), '(?<!\\)((?:\\\\)*)\\u0000', '\1', 'g'
)::jsonb;

insert into intent_ledger.grants (ledger, grant_id, parent, token_sha256, expires_at, revoked, issued)
select
    events.ledger,
    issued.event ->> 'grant',
    issued.event ->> 'parent',
    issued.event ->> 'token_sha256',
    'infinity',
    false,
    events.body
from intent_ledger.events
cross join lateral intent_ledger.readable(events.body) as issued (event)
where events.stream = 'grants' and events.type = 'GrantIssued';

update intent_ledger.in_flight
set grant_id = intent_ledger.readable(events.body) ->> 'grant'
from intent_ledger.events
where
    events.ledger = in_flight.ledger
    and events.stream = 'intent/' || in_flight.intent
    and events.version = 1
    and events.type = 'IntentSubmitted';

drop function intent_ledger.readable;
