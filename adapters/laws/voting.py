"""Trials of what comes before any decision: previews, votes, and what is refused (laws 1, 4, 11)."""

from adapters.contract import Prepared, Preview, Refused
from adapters.facts import checked_facts
from adapters.laws.bench import Bench
from adapters.laws.trial import Trial, told
from ledger.errors import Permanent
from ledger.intents import Verb


def try_voting(bench: Bench) -> None:
    """Try what a preview tells and how a prepare votes."""
    bench.run((11,), _preview)
    bench.run((1, 4), _vote)
    if bench.setup.table.refused is None:
        bench.notes.append("Whether a refusal is a vote was not tried: `refused` is not given.")
    else:
        bench.run((1,), _refusal)


def _preview(trial: Trial) -> None:
    operation = trial.bench.operation
    for _ in range(2):
        preview = trial.answer(trial.bench.second, Verb.PREVIEW)
        if not isinstance(preview, Preview):
            trial.find(11, f"A preview of what should be possible {told(preview)}")
            return
        _facts(trial, preview)
    if trial.look() != trial.before:
        trial.find(11, "Previews were called, and nothing else.")
    vote = trial.prepared()
    if vote.preview.facts:
        _facts(trial, vote.preview)
    elif operation.facts:
        trial.bench.notes.append("The vote carries no facts: what has changed since policy saw them goes unnoticed.")


def _facts(trial: Trial, preview: Preview) -> None:
    operation = trial.bench.operation
    if set(preview.facts) != set(operation.facts):
        trial.find(11, f"The facts are {sorted(preview.facts)}, and {sorted(operation.facts)} were declared.")
        return
    try:
        checked_facts(operation.name, preview.facts, operation.fact_types)
    except Permanent as error:
        trial.find(11, error.message)


def _vote(trial: Trial) -> None:
    vote = trial.prepared()
    if (vote.receipt is not None) is not trial.bench.atomic:
        with_or_without = "with" if vote.receipt is not None else "without"
        trial.find(1, f"A prepare answered {with_or_without} a receipt; a hold has one, and a one-shot has none.")
    if trial.effects() != 0:
        trial.find(4, "A prepare was called, and no commit.")


def _refusal(trial: Trial) -> None:
    before = trial.look()
    vote = trial.answer(trial.bench.second, Verb.PREPARE, changed=trial.refused)
    if isinstance(vote, Prepared):
        trial.find(1, f"A prepare with {trial.refused}, which is to be refused, answered Prepared.")
    elif not isinstance(vote, Refused) or not vote.reason.strip():
        trial.find(1, f"A prepare with {trial.refused} {told(vote)} A refusal is a vote, with a sentence.")
    if trial.look() != before:
        trial.find(1, "A prepare was refused, and yet changed what is shown or held.")
