"""Planted bugs in authority: each forgets one thing that makes it hold, and must be found.

Told apart from those of the protocol only to keep the files short; `simulation/mutants.py` says what a mutant is.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from simulation.inline_tables import InlineTables
from simulation.store import SimulatedStore

from authority import approvals, policy, tokens
from coordinator import coordinator, guards, moves, people, runner, seals, submissions, undecided
from ledger import events as e
from ledger import state, transitions
from ledger.phases import Step
from ledger.store import Append, GrantAlive, PolicyActive, Restore, Revoke, WithinLimits

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def _drops(patch: Any, where: Any, guard: type) -> None:
    """Let appends made there carry no guard of this class."""

    def careless(**fields: Any) -> Append:
        kept = tuple(one for one in fields.get("guards", ()) if not isinstance(one, guard))
        return Append(**fields | {"guards": kept})

    patch.setattr(where, "Append", careless)


def checks_the_grant_outside_the_transaction(patch):
    """It is looked at when the intent is claimed, and not again."""
    _drops(patch, runner, GrantAlive)


def remembers_grants_for_ever(patch):
    real = tokens.Tokens.authenticate
    patch.setattr(tokens.Tokens, "forget", lambda *_: None)
    patch.setattr(tokens.Tokens, "authenticate", lambda self, token, **_: real(self, token, fresh=False))
    patch.setattr(tokens, "_expired", lambda *_: False)
    _drops(patch, coordinator, GrantAlive)
    _drops(patch, submissions, GrantAlive)


def hears_people_whose_grant_has_died(patch):
    """Their token was looked at when they began to speak."""
    _drops(patch, coordinator, GrantAlive)


def sleeps_through_a_revoke(patch):
    real = SimulatedStore.reschedule
    patch.setattr(SimulatedStore, "reschedule", lambda *args: real(*args[:5]))


def forgets_the_subtree_on_revoke(patch):
    real = InlineTables.change

    def change(self, asked):
        if not isinstance(asked, Revoke):
            return real(self, asked)
        self.grants[asked.grant].revoked = True
        return frozenset({asked.grant})

    patch.setattr(InlineTables, "change", change)


def decides_under_a_policy_set_that_was_replaced(patch):
    _drops(patch, runner, PolicyActive)


def lets_policy_errors_allow(patch):
    real = policy._answer

    def lenient(*args, **how):
        answer = real(*args, **how)
        return msgspec.structs.replace(answer, allowed=True, determining=frozenset()) if answer.erring else answer

    patch.setattr(policy, "_answer", lenient)


def does_not_compare_facts(patch):
    patch.setattr(undecided, "_changed_facts", lambda _: None)


def approves_by_id_alone(patch):
    """Whatever digest the person names, what is asked now is approved."""
    real = people._may_answer

    def whatever(intent, chain, answer):
        asked = intent.approval_requested
        real(intent, chain, msgspec.structs.replace(answer, digest=asked.digest if asked else answer.digest))

    patch.setattr(people, "_may_answer", whatever)


def commits_what_has_changed_since_it_was_approved(patch):
    real = undecided.content_digest
    patch.setattr(
        undecided, "content_digest", lambda intent: intent.approvals[0].digest if intent.approvals else real(intent)
    )


def _approvals_that_count(patch: Any, counts: Callable[[Any, Any, Any], bool]) -> None:
    """Replace the rule by which an approval counts."""

    def approved(event, recorded, intent):
        if not counts(event, recorded, intent):
            return {}
        return {
            "approvals": (*intent.approvals, event),
            "approval_times": (*intent.approval_times, recorded.at),
        }

    patch.setitem(state._INTENT_KEEPS, e.ApprovalGiven, approved)


def counts_answers_instead_of_people(patch):
    _approvals_that_count(patch, lambda event, _, intent: event.digest == intent.approval_requested.digest)
    real = people._may_answer

    def forgetful(intent, involved, answer):
        alone = msgspec.structs.replace(involved, answered=())
        real(msgspec.structs.replace(intent, approvals=(), approval_times=()), alone, answer)

    patch.setattr(people, "_may_answer", forgetful)


def lets_approvals_outlive_their_expiry(patch):
    _approvals_that_count(
        patch,
        lambda event, _, intent: (
            event.digest == intent.approval_requested.digest and event.by not in {one.by for one in intent.approvals}
        ),
    )
    real = people._may_answer
    patch.setattr(
        people,
        "_may_answer",
        lambda intent, chain, answer: real(intent, chain, msgspec.structs.replace(answer, now=LONG_AGO)),
    )


def counts_people_twice_under_two_names(patch):
    patch.setattr(approvals, "_shared", lambda *_: None)


def lets_people_approve_for_themselves(patch):
    patch.setattr(people, "eligible", lambda *_: None)


def lets_holds_go_without_a_word(patch):
    patch.setattr(undecided, "Invocation", lambda *args, **how: moves.Invocation(*args, **how | {"announce": None}))
    patch.setitem(transitions.STEPS, (Step.PREPARED, "HoldReleased"), Step.PLANNED)


def reads_limits_before_the_lock(patch):
    """They are compared somewhere, and never charged."""
    _drops(patch, runner, WithinLimits)


def gives_back_what_an_operator_undid(patch):
    real = guards.restore_of

    def restore(intent, events):
        undone = any(isinstance(event, e.IntentCompensated) for event in events)
        decided = intent.committed
        if undone and decided is not None and decided.charges:
            return Restore(decided.charges, intent.commit_decided_at)
        return real(intent, events)

    patch.setattr(runner, "restore_of", restore)


def gives_back_nothing_after_a_failure(patch):
    patch.setattr(runner, "restore_of", lambda *_: None)


def does_not_look_for_repetitions(patch):
    patch.setattr(seals, "likeness", lambda _: None)


AUTHORITY_MUTANTS = [
    (checks_the_grant_outside_the_transaction, "simulation", "I5: .* (was given a verdict|committed)"),
    (remembers_grants_for_ever, "simulation", "I5: .* submitted an intent"),
    (hears_people_whose_grant_has_died, "races", "was heard"),
    (sleeps_through_a_revoke, "happenings", "I5: .* not aborted soon|I18: "),
    (forgets_the_subtree_on_revoke, "simulation", "I5: "),
    (decides_under_a_policy_set_that_was_replaced, "simulation", "I6: .* not active"),
    (lets_policy_errors_allow, "simulation", "I6: .* should be"),
    (does_not_compare_facts, "simulation", "I6: .* other facts"),
    (approves_by_id_alone, "simulation", "I7: .* something else than what was asked"),
    (commits_what_has_changed_since_it_was_approved, "happenings", "I7: .* approved by 0 of 1"),
    (counts_answers_instead_of_people, "simulation", "I7: .* approved by 1 of 2"),
    (lets_approvals_outlive_their_expiry, "races", "it was decided to commit"),
    (counts_people_twice_under_two_names, "simulation", "I7: .* is their second"),
    (lets_people_approve_for_themselves, "simulation", "I7: .* involved"),
    (lets_holds_go_without_a_word, "happenings", "I8: abort of .* still counts on it"),
    (reads_limits_before_the_lock, "simulation", "I11: .* of it was used"),
    (gives_back_what_an_operator_undid, "simulation", "I11: .* counts"),
    (gives_back_nothing_after_a_failure, "simulation", "I11: .* counts"),
    (does_not_look_for_repetitions, "simulation", "likeness: "),
]
