-- The inline tables against the events: projections/inline_replay.py.

-- name: hold_head
select position
from intent_ledger.heads
where ledger = $1
for update;

-- name: head
select position, policy_set
from intent_ledger.heads
where ledger = $1;

-- name: strange_messages
select message.position
from intent_ledger.outbox as message
left join intent_ledger.events as event on event.ledger = $1 and event.position = message.position
where
    message.ledger = $1
    and (event.type is null or event.type not in ('ApprovalRequested', 'ApprovalGiven', 'AbortDecided', 'AnomalyDetected'))
order by message.position;

-- name: put_head
insert into intent_ledger.heads (ledger, position, policy_set)
values ($1, $2, $3)
on conflict (ledger) do update
set
    position = excluded.position,
    policy_set = excluded.policy_set
where (heads.position, heads.policy_set) is distinct from (excluded.position, excluded.policy_set);

-- name: remove_outbox
delete from intent_ledger.outbox as message
where
    message.ledger = $1
    and not exists (
        select
        from intent_ledger.events
        where
            events.ledger = $1
            and events.position = message.position
            and events.type in ('ApprovalRequested', 'ApprovalGiven', 'AbortDecided', 'AnomalyDetected')
    );
