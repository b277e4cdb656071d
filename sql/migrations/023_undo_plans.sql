-- Undo plans are in flight beside the intents, each under the name of its stream, and the audit tells of them.

comment on table intent_ledger.in_flight is
    'What is not at rest: intents by id, undo plans by stream. A lease is a due_at in the future beside a worker; what is parked is due at infinity.';

alter table intent_ledger.audit
    drop constraint audit_kind_check,
    add constraint audit_kind_check check (
        kind in (
            'intent', 'approve', 'reject', 'cancel', 'undo', 'resolve',
            'issue', 'revoke', 'add_policy', 'activate_policy', 'define_task', 'refuse_token',
            'plan_undo', 'approve_undo', 'halt_undo', 'finish_undo'
        )
    );
