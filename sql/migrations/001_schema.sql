-- The schema holds everything of Intent Ledger; the role is what the service runs as.
-- A role belongs to the whole cluster, so another database may have made it before.

comment on schema intent_ledger is
    'Intent Ledger: the events, and the inline tables that change in the same transaction as them.';

do $$
begin
    if not exists (select from pg_catalog.pg_roles where rolname = 'intent_ledger_app') then
        create role intent_ledger_app nologin;
    end if;
    if not pg_catalog.pg_has_role(current_user, 'intent_ledger_app', 'member') then
        execute pg_catalog.format('grant intent_ledger_app to %I', current_user);
    end if;
exception
    when duplicate_object or unique_violation then
        null;  -- made at the same moment by the migration of another database
end
$$;

revoke all on schema intent_ledger from public;
grant usage on schema intent_ledger to intent_ledger_app;
