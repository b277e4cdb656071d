-- A release that folds events into other rows than the one before says so by a higher revision; the rows of an older
-- revision are rebuilt before the view is followed further.

alter table intent_ledger.projections
    add column revision integer not null default 1,
    add check (revision > 0);

comment on column intent_ledger.projections.revision is
    'Of the projection whose rows these are. A process follows a view only where this is its own revision.';
