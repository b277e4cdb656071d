-- A suspension is a revocation that can be lifted. A grant counts the suspended grants among itself and those above it,
-- so that lifting one leaves the others in force; whatever obeys `revoked` obeys both.

alter table intent_ledger.grants
    add column ended boolean not null default false,
    add column suspensions integer not null default 0,
    add check (suspensions >= 0);

update intent_ledger.grants
set ended = revoked
where revoked;

alter table intent_ledger.grants drop column revoked;
alter table intent_ledger.grants
    add column revoked boolean not null generated always as (ended or suspensions > 0) stored;

comment on column intent_ledger.grants.ended is 'The grant, or one above it, was revoked for good.';
comment on column intent_ledger.grants.suspensions is 'How many are suspended of the grant and those above it.';
comment on column intent_ledger.grants.revoked is 'No decision is made under it now: it has ended, or is suspended.';

grant update (ended, suspensions) on intent_ledger.grants to intent_ledger_app;

-- The change of 018_append_under_authority.sql, which also suspends and resumes, and destroys the key of a data subject.

create or replace function intent_ledger.change(in_ledger text, in_at timestamptz, in_stream text, in_change jsonb)
returns void
language plpgsql
volatile
set search_path = pg_catalog
set enable_nestloop = on
as $$
declare
    verb text := in_change ->> 'verb';
begin
    case verb
        when 'issue' then
            insert into intent_ledger.grants (
                ledger, grant_id, parent, token_sha256, expires_at, ended, suspensions, issued
            )
            select
                in_ledger,
                issued.grant_id,
                issued.parent,
                issued.token_sha256,
                coalesce(least(issued.expires_at, above.expires_at), 'infinity'),
                coalesce(above.ended, false),
                coalesce(above.suspensions, 0),
                events.body
            from jsonb_to_record(in_change) as issued (
                grant_id text, parent text, token_sha256 text, expires_at timestamptz, version bigint
            )
            join intent_ledger.events
                on events.ledger = in_ledger and events.stream = in_stream and events.version = issued.version
            left join intent_ledger.grants as above
                on above.ledger = in_ledger and above.grant_id = issued.parent;

        when 'revoke', 'suspend', 'resume' then
            with recursive below as (
                select grants.grant_id
                from intent_ledger.grants
                where grants.ledger = in_ledger and grants.grant_id = in_change ->> 'grant_id'
                union all
                select grants.grant_id
                from below
                join intent_ledger.grants on grants.ledger = in_ledger and grants.parent = below.grant_id
            ),
            marked as (
                update intent_ledger.grants
                set
                    ended = ended or verb = 'revoke',
                    suspensions = suspensions + case verb when 'suspend' then 1 when 'resume' then -1 else 0 end
                where
                    grants.ledger = in_ledger
                    and grants.grant_id = any (array(select below.grant_id from below))
            )
            update intent_ledger.in_flight
            set due_at = in_at
            where
                in_flight.ledger = in_ledger
                and in_flight.grant_id = any (array(select below.grant_id from below))
                and in_flight.worker is null
                and in_flight.due_at > in_at
                and verb <> 'resume';

        when 'activate' then
            update intent_ledger.heads
            set policy_set = in_change ->> 'policy_set'
            where heads.ledger = in_ledger;

        when 'erase' then
            delete from intent_ledger.subject_keys
            where subject_keys.ledger = in_ledger and subject_keys.key_id = in_change ->> 'key_id';
    end case;
end
$$;

comment on function intent_ledger.change is
    'Changes what stands beside the events: grants, the active policy set, the keys of data subjects. The caller holds the head.';
