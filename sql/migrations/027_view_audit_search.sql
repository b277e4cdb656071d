-- An entry of the audit also tells what policy saw, what it said, what the outside systems confirmed and who approved.
-- What an entry may be about is a closed list of its struct; it is written down there only.

alter table intent_ledger.audit
    drop constraint audit_kind_check,
    add column effect text collate "C",
    add column facts text collate "C",
    add column confirmed text collate "C",
    add column approved_by text[] collate "C" not null default '{}',
    add column decision_position bigint,
    add check (effect in ('allow', 'escalate', 'deny')),
    add check (decision_position between position and outcome_position);

comment on column intent_ledger.audit.effect is 'What policy said; null while it has not, and where it was not asked.';
comment on column intent_ledger.audit.facts is 'What policy saw, by action, as JSON; null where it saw nothing.';
comment on column intent_ledger.audit.confirmed is
    'What the outside systems said of the actions, or a person in their place, by action, as JSON; null before.';
comment on column intent_ledger.audit.decision_position is 'Of the last decision on the intent; null before the first.';

-- Entries are searched by any conjunction of terms. The ledger is cut into segments of 2^15 positions, and each term of
-- an entry is hashed with its segment: within one, PostgreSQL intersects short sorted lists, whichever terms they are
-- and however common; a reader goes from segment to segment, newest first, until the page is full. So the way through
-- is always the same and rests on no statistics.

create function intent_ledger.audit_terms(
    in_ledger text,
    in_segment bigint,
    in_agent text,
    in_commissioned_by text,
    in_task text,
    in_by text,
    in_kind text,
    in_outcome text,
    in_verification text,
    in_policy_set text,
    in_operations text[],
    in_policies text[],
    in_custody text[]
)
returns bigint[]
language sql
immutable
parallel safe
begin atomic
    select array_agg(pg_catalog.hashtextextended((in_ledger || e'\n' || term) collate "C", in_segment))
    from (
        select unnest(
            array[
                'agent ' || in_agent,
                'commissioned_by ' || in_commissioned_by,
                'task ' || in_task,
                'by ' || in_by,
                'kind ' || in_kind,
                'outcome ' || in_outcome,
                'outcome ' || in_verification,
                'policy ' || in_policy_set
            ]
        )
        union all
        select distinct 'operation ' || unnest(in_operations)
        union all
        select 'policy ' || unnest(in_policies)
        union all
        select 'grant ' || unnest(in_custody)
    ) as terms (term)
    where term is not null;
end;

comment on function intent_ledger.audit_terms is
    'What an entry of one segment is found by, and, of what is asked for alone, what finds it.';

create index audit_terms on intent_ledger.audit using gin (
    intent_ledger.audit_terms(
        ledger,
        position >> 15,
        agent,
        commissioned_by,
        task,
        by,
        kind,
        outcome,
        verification,
        policy_set,
        operations,
        policies,
        custody
    )
)
with (fastupdate = off); -- a list of what is not sorted in yet would be read by every search

drop index intent_ledger.audit_of_agent;
drop index intent_ledger.audit_of_task;
drop index intent_ledger.audit_at;

create index audit_in_time on intent_ledger.audit (ledger, at, position);

comment on index intent_ledger.audit_in_time is
    'Times never go back while positions go on: the first and last entry of a time say which positions to read.';
