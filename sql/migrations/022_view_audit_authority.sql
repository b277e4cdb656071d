-- The audit is of every stream in which somebody acts, not of intents alone: an entry is named by the stream and the
-- version of the event that opened it. What concerns no agent has none.

alter table intent_ledger.audit
    add column stream text collate "C",
    add column digest text collate "C",
    add column follows text collate "C",
    add column verification text collate "C",
    add column failure_mode text collate "C",
    add column escalated_to text collate "C",
    add column detail text collate "C",
    alter column agent_kind drop not null,
    alter column agent drop not null,
    alter column grant_id drop not null,
    drop constraint audit_pkey,
    drop constraint audit_kind_check,
    drop constraint audit_check,
    drop constraint audit_check1;

update intent_ledger.audit
set stream = 'intent/' || intent;

alter table intent_ledger.audit
    alter column stream set not null,
    drop column intent,
    add primary key (ledger, stream, version),
    add check (
        kind in (
            'intent', 'approve', 'reject', 'cancel', 'undo', 'resolve',
            'issue', 'revoke', 'add_policy', 'activate_policy', 'define_task', 'refuse_token'
        )
    ),
    add check ((kind = 'intent') = (stream like 'intent/%' and version = 1)),
    add check (kind <> 'intent' or by is null),
    add check (verification in ('verified', 'contradicted', 'unknown'));

comment on table intent_ledger.audit is
    'View: one entry for each intent, with its outcome, and one for each act of a person or of authority. Can be rebuilt.';
comment on column intent_ledger.audit.version is 'Of the event that opened the entry; 1 for an intent itself.';
comment on column intent_ledger.audit.by is 'Who acted; null in the entry of an intent itself and where nobody is known.';
comment on column intent_ledger.audit.detail is
    'What was granted, commissioned or tried, as JSON; null where nothing is to be added.';
