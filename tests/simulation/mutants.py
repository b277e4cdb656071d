"""Planted bugs: each breaks one rule of the protocol in about one line, and must be found.

A mutant is a function that changes the product through pytest's monkeypatch. `caught_by` is a pattern for the words of
the check that is to find it, so that a mutant found by accident does not count.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from simulation.authority_mutants import AUTHORITY_MUTANTS
from simulation.store import Database

from adapters.contract import Unknown
from coordinator import calls, circuit, coordinator, decided, moves, outcome, people, runner, submissions, worker
from ledger import events as e
from ledger import phases, state, transitions
from ledger.errors import InDoubt, Transient
from ledger.intents import Guarantee, has_hold
from ledger.phases import Phase, Step
from ledger.store import Append, Parked

Plant = Callable[[Any], None]


class Mutant(NamedTuple):
    """A planted bug, by whom it must be found (one of `FINDERS`), and the words of the check."""

    plant: Plant
    finder: str
    caught_by: str


def commits_before_the_decision_is_durable(patch):
    real = runner.Runner._flush

    async def flush(self, draft, lease, work):
        if work is None and draft.imagined.phase is Phase.COMMITTING and draft.confirmed.phase is Phase.PREPARING:
            draft.confirmed = draft.imagined  # the rest of the round believes it
            return None
        return await real(self, draft, lease, work)

    patch.setattr(runner.Runner, "_flush", flush)


def takes_a_time_out_for_a_failure(patch):
    real = outcome._committed
    patch.setattr(
        outcome,
        "_committed",
        lambda action, answer, now: (
            e.ActionFailed(action=action.plan.id, reason="timed out")
            if isinstance(answer, InDoubt)
            else real(action, answer, now)
        ),
    )


def takes_doubt_for_success(patch):
    real = outcome._committed
    patch.setattr(
        outcome,
        "_committed",
        lambda action, answer, now: (
            e.ActionDone(action=action.plan.id, result={}) if isinstance(answer, InDoubt) else real(action, answer, now)
        ),
    )


def takes_unknown_for_absent(patch):
    real = outcome._inquired
    patch.setattr(
        outcome,
        "_inquired",
        lambda call, action, answer, now: (
            e.CommitFoundAbsent(action=action.plan.id)
            if isinstance(answer, Unknown) and action.step is Step.COMMIT_IN_DOUBT
            else real(call, action, answer, now)
        ),
    )


def asks_before_the_dust_has_settled(patch):
    patch.setattr(decided, "_settled", lambda _, now: now)
    patch.setattr(outcome, "_settled", outcome._again)


def gives_up_on_what_is_in_doubt(patch):
    real = outcome._committed
    patch.setattr(
        outcome,
        "_committed",
        lambda action, answer, now: (
            e.ActionFailed(action=action.plan.id, reason="given up")
            if isinstance(answer, Transient) and not has_hold(action.plan)
            else real(action, answer, now)
        ),
    )


def appends_without_the_epoch(patch):
    patch.setattr(runner, "Append", lambda **fields: Append(**fields | {"guards": ()}))


def ignores_the_expected_version(patch):
    real = Database.append

    def append(self, one, process=""):
        there = len(self.streams.get(one.stream, []))
        return real(self, msgspec.structs.replace(one, expected_version=there), process)

    patch.setattr(Database, "append", append)


def forgets_which_keys_were_used(patch):
    patch.setattr(submissions, "Append", lambda **fields: Append(**fields | {"guards": ()}))


def repeats_a_blind_commit(patch):
    real = decided._settle_commit
    patch.setattr(
        decided,
        "_settle_commit",
        lambda intent, action, now: (
            None
            if action.plan.guarantee is Guarantee.BLIND and action.step is Step.COMMIT_IN_DOUBT
            else real(intent, action, now)
        ),
    )


def aborts_only_what_it_knows_to_be_held(patch):
    patch.setattr(decided, "_MAY_HOLD", frozenset({Step.PREPARED}))
    patch.setitem(transitions.SWEEPS, (Step.PREPARE_IN_DOUBT, "IntentAborted"), Step.ABORTED)


def believes_that_a_refusal_ends_all_earlier_calls(patch):
    patch.setattr(decided, "_MAY_HOLD", decided._MAY_HOLD - {Step.REFUSED})


def believes_that_a_broken_hold_holds_nothing(patch):
    patch.setattr(decided, "_MAY_STILL_HOLD", frozenset({Step.PREPARED}))


def forgets_the_holds_at_an_abort(patch):
    patch.setattr(decided, "aborting", lambda *_: moves.Record((e.IntentAborted(),)))
    for step in (Step.PREPARE_IN_DOUBT, Step.REFUSED):
        patch.setitem(transitions.SWEEPS, (step, "IntentAborted"), Step.ABORTED)


def forgets_the_holds_at_a_compensation(patch):
    real = decided.has_hold
    patch.setattr(decided, "has_hold", lambda plan: False if plan.undo == "exact" else real(plan))


def derives_the_key_anew_for_each_attempt(patch):
    real = calls.Call
    patch.setattr(calls, "Call", lambda **f: real(**f | {"key": f"{f['key']}-{f['epoch']}-{f['deadline']}"}))


def undoes_in_the_order_of_doing(patch):
    patch.setattr(decided, "reversed", iter, raising=False)


def lets_a_cancel_overtake_the_decision(patch):
    patch.setattr(people, "UNDECIDED", phases.UNDECIDED | {Phase.COMMITTING})
    patch.setitem(transitions.PHASES, (Phase.COMMITTING, "AbortDecided"), Phase.ABORTING)
    for step in Step:
        patch.setitem(transitions.SWEEPS, (step, "IntentAborted"), Step.ABORTED)


def sends_without_announcing(patch):
    real = moves._invocations
    patch.setattr(
        moves,
        "_invocations",
        lambda *args: (msgspec.structs.replace(call, announce=None) for call in real(*args)),
    )


def compensates_beside_a_hold_that_was_sent(patch):
    real = decided._next_commits
    patch.setattr(
        decided,
        "_next_commits",
        lambda intent: [] if any(a.step is Step.FAILED for a in intent.actions) else real(intent),
    )


def repeats_beyond_the_life_of_a_key(patch):
    patch.setattr(decided, "_key_expired", lambda *_: False)


def commits_holds_first(patch):
    real = decided._rank
    patch.setattr(decided, "_rank", lambda plan: -real(plan))


def commits_without_minding_the_order(patch):
    real = decided._next_commits

    def careless(intent):
        actions = tuple(
            msgspec.structs.replace(a, plan=msgspec.structs.replace(a.plan, after=())) for a in intent.actions
        )
        return real(msgspec.structs.replace(intent, actions=actions))

    patch.setattr(decided, "_next_commits", careless)


def sends_after_its_lease_ran_out(patch):
    far = datetime(2100, 1, 1, tzinfo=UTC)
    patch.setattr(worker.Worker, "lease_until", lambda _: far)


def leaves_what_must_wait_to_nobody(patch):
    patch.setattr(runner, "Due", lambda *_: Parked())


def waits_for_ever_after_a_person_spoke(patch):
    patch.setattr(coordinator, "Due", lambda *_: None)


def forgets_what_a_lost_append_may_have_written(patch):
    """After Unknown, go on as if nothing had been written: append again under whatever version is there now."""
    real = runner.Runner._flush

    async def flush(self, draft, lease, work):
        lost = await real(self, draft, lease, work)
        if lost is not None and "Unknown" in lost.reason:
            fresh = await self._store.read(f"intent/{draft.confirmed.id}", draft.confirmed.version)
            if fresh:
                draft.confirmed = msgspec.structs.replace(draft.confirmed, version=fresh[-1].version)
                return await real(self, draft, lease, work)
        return lost

    patch.setattr(runner.Runner, "_flush", flush)


def leaves_an_open_circuit_open(patch):
    patch.setattr(circuit.Circuit, "admits", lambda self, _: self.until is None)


def counts_what_was_held_back_as_an_attempt(patch):
    patch.setitem(state._ACTION_KEEPS, e.CallDeferred, state._not_settled)


def takes_a_call_that_was_held_back_for_a_failure(patch):
    real = outcome.not_sent

    def not_sent(action, verb, answer):
        failed = e.ActionFailed(action=action.plan.id, reason=answer.reason)
        return failed if verb == "commit" else real(action, verb, answer)

    patch.setattr(outcome, "not_sent", not_sent)


MUTANTS = [
    Mutant(commits_before_the_decision_is_durable, "simulation", "I1: "),
    Mutant(takes_a_time_out_for_a_failure, "simulation", "I3, I9: "),
    Mutant(takes_doubt_for_success, "simulation", "I3"),
    Mutant(takes_unknown_for_absent, "courses", "I4: "),
    Mutant(asks_before_the_dust_has_settled, "courses", "I4: |I10: "),
    Mutant(gives_up_on_what_is_in_doubt, "walk", "I9: "),
    Mutant(appends_without_the_epoch, "simulation", "I12: "),
    Mutant(ignores_the_expected_version, "simulation", "I17|our own code failed|I2: "),
    Mutant(forgets_which_keys_were_used, "simulation", "I13: "),
    Mutant(repeats_a_blind_commit, "simulation", "I4: "),
    Mutant(aborts_only_what_it_knows_to_be_held, "simulation", "I8: "),
    Mutant(believes_that_a_refusal_ends_all_earlier_calls, "courses", "I8: "),
    Mutant(believes_that_a_broken_hold_holds_nothing, "simulation", "I8: "),
    Mutant(forgets_the_holds_at_an_abort, "simulation", "I8: "),
    Mutant(forgets_the_holds_at_a_compensation, "simulation", "I8: "),
    Mutant(derives_the_key_anew_for_each_attempt, "simulation", "I4: |I8: |I3"),
    Mutant(undoes_in_the_order_of_doing, "simulation", "I10: "),
    Mutant(lets_a_cancel_overtake_the_decision, "simulation", "I2: "),
    Mutant(sends_without_announcing, "simulation", "I4: |I3, I9: "),
    Mutant(compensates_beside_a_hold_that_was_sent, "walk", "I9: "),
    Mutant(repeats_beyond_the_life_of_a_key, "walk", "I4: |I10: "),
    Mutant(commits_holds_first, "walk", "before a one-shot that may still fail"),
    Mutant(commits_without_minding_the_order, "walk", "before what it comes after"),
    Mutant(sends_after_its_lease_ran_out, "pauses", "I4: |I3, I9: |I10: "),
    Mutant(leaves_what_must_wait_to_nobody, "simulation", "I18: "),
    Mutant(waits_for_ever_after_a_person_spoke, "simulation", "I18: "),
    Mutant(forgets_what_a_lost_append_may_have_written, "simulation", "I17|our own code failed|I2: "),
    Mutant(leaves_an_open_circuit_open, "simulation", "I18: "),
    Mutant(counts_what_was_held_back_as_an_attempt, "races", "given up: "),
    Mutant(takes_a_call_that_was_held_back_for_a_failure, "races", "I3, I9: "),
    *(Mutant(*one) for one in AUTHORITY_MUTANTS),
]
