-- What the intents of a task, of a grant and of a person in charge are searched by. The rows of the release before are
-- rebuilt (020); until then they belong to nobody's chain, so that nobody sees too much.

alter table intent_ledger.intents
    add column custody text[] collate "C" not null default '{}',
    add column follows text collate "C",
    add column escalated_to text collate "C";

alter table intent_ledger.intents
    alter column custody drop default;

create index intents_under_grant on intent_ledger.intents using gin (custody);
create index intents_followed on intent_ledger.intents (ledger, follows) where follows is not null;
create index intents_escalated on intent_ledger.intents (ledger, escalated_to, intent) where escalated_to is not null;

comment on column intent_ledger.intents.follows is 'The intent that handed over to this one.';
comment on column intent_ledger.intents.escalated_to is
    'The person to whom a foreseen failure of it was escalated; they answer with an intent that follows it.';
