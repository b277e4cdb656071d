"""The first trials: one action from preview to undo, with nothing in its way.

It is made twice: each verb by a process of its own, as after a crash between any two, and all of them by one process.

From them the bench learns what one effect, one hold and one undo look like in the records, and by which steps each verb
goes. What goes wrong already here is the plainest breach there is. After them a third trial makes two actions with the
same parameters, to know whether the records could show a second effect at all.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from adapters.contract import Prepared, Preview, Result
from adapters.laws.bench import Bench
from adapters.laws.record import Change, change, measure, same, words
from adapters.laws.trial import CannotTry, Over, Trial, told
from adapters.laws.worker import Answer, Reply, Worker
from ledger.errors import Permanent
from ledger.intents import JSON, Guarantee, Undo, Verb


class Course(msgspec.Struct, kw_only=True):
    """What one undisturbed action changed in the records."""

    hold: Change = {}
    effect: Change = {}
    undo: Change = {}
    restored: bool = True  # whether what is shown is what was shown before


def learn(bench: Bench) -> bool:
    """Learn what the records show of one action; tell whether it is enough to go on."""
    courses: list[Course] = []
    bench.run((5, 4), lambda trial: courses.append(_course(trial, trial.worker)))
    if courses:
        bench.run((5, 4), lambda trial: courses.append(_course(trial, lambda: bench.second)))
    if len(courses) < 2:
        return False
    bench.effect = measure(courses[0].effect, courses[1].effect)
    bench.hold = measure(courses[0].hold, courses[1].hold)
    bench.undo = measure(courses[0].undo, courses[1].undo)
    if not bench.effect.seen:
        bench.find(
            5,
            "A commit answered that it was done, and the records show nothing of it: nothing happened, "
            "or `shows` and `counts` look at another place.",
            costs=Guarantee.BLIND,
        )
        return False
    if bench.atomic and not bench.hold.seen:
        bench.find(2, "A prepare answered that it holds, and `holds` shows nothing of it.")
    _judge_undo(bench, courses)
    bench.run((5,), _two_actions)
    return True


def _course(trial: Trial, who: Callable[[], Worker]) -> Course:
    """Go through one action, each verb by whoever is next."""
    course = Course()
    owner = who()
    _step(trial, who, Verb.PREVIEW)
    vote = _step(trial, lambda: owner, Verb.PREPARE)
    if not isinstance(vote, Prepared):
        raise CannotTry(f"A prepare of params {trial.sample.params}, which should be possible, {told(vote)}")
    seen = trial.look()
    course.hold = change(trial.before.holds, seen.holds)
    if change(trial.before.effects, seen.effects):
        trial.find(4, "Preview and prepare were called, and no commit.")
    result = _step(trial, who, Verb.COMMIT, receipt=vote.receipt)
    if trial.bench.atomic and isinstance(result, Permanent):
        refusal, result = result, trial.answer(owner, Verb.COMMIT, receipt=vote.receipt)
        if isinstance(result, Permanent):
            trial.find(1, f"Prepare gave its word, and commit {told(result)}", costs=Guarantee.ATOMIC)
            raise Over
        trial.find(2, f"A process took a hold; its own commit was answered, and another one's {told(refusal)}")
    if not isinstance(result, Result):
        raise CannotTry(f"A commit that nothing disturbed {told(result)}")
    course.effect = _settled(trial)
    _step(trial, who, Verb.INQUIRE)
    if trial.bench.undoes:
        _undo(trial, who, course, vote.receipt, result)
    if trial.bench.atomic:
        _abort(trial, who)
    return course


def _undo(trial: Trial, who: Callable[[], Worker], course: Course, receipt: JSON | None, result: Result) -> None:
    done = trial.look()
    undone = _step(trial, who, Verb.COMPENSATE, receipt=receipt, result=result.data)
    if not isinstance(undone, Result):
        trial.find(8, f"A compensation that nothing disturbed {told(undone)}", undo=Undo.NONE)
        return
    after = trial.look()
    course.undo = change(done.effects, after.effects)
    course.restored = same(after.shows, trial.before.shows)


def _abort(trial: Trial, who: Callable[[], Worker]) -> None:
    """Learn by which steps an abort goes; of a hold of another action, because this one has happened."""
    vote = trial.answer(trial.bench.second, Verb.PREPARE, key=trial.other_key)
    receipt = vote.receipt if isinstance(vote, Prepared) else None
    _step(trial, who, Verb.ABORT, key=trial.other_key, receipt=receipt, epoch=2)


def _step(trial: Trial, who: Callable[[], Worker], verb: Verb, **more: Any) -> Answer:
    """Make a call, and keep by which steps it went the first time, in a process that had made none before."""
    heard = trial.ask(who(), verb, **more)
    if not isinstance(heard, Reply):
        raise CannotTry(f"{verb} gave no answer.")
    trial.bench.steps.setdefault(verb, heard.steps)
    if verb is Verb.PREVIEW and isinstance(heard.answer, Preview) and trial.look() != trial.before:
        trial.find(11, "A preview was called, and nothing else.")
    return heard.answer


def _settled(trial: Trial) -> Change:
    """Wait until an effect shows."""
    trial.patiently(lambda: bool(change(trial.before.effects, trial.look().effects)), expected=True)
    return change(trial.before.effects, trial.look().effects)


def _judge_undo(bench: Bench, courses: list[Course]) -> None:
    if not bench.undoes or any(one.law == 8 for one in bench.objections):
        return
    bench.trials[8] += len(courses)
    if not bench.undo.seen:
        bench.find(
            8,
            "A compensation answered that it is done, and the records show what they showed before it.",
            undo=Undo.NONE,
        )
    elif bench.operation.undo is Undo.EXACT and not all(course.restored for course in courses):
        bench.find(
            8,
            "After an exact undo the outside system does not show what it showed before the action. "
            f"The action changed: {words(courses[1].effect)}; the undo changed: {words(courses[1].undo)}.",
            undo=Undo.SEMANTIC,
        )


def _two_actions(trial: Trial) -> None:
    """Perform two actions with the same parameters: what a second effect looks like, and whether it can be seen."""
    trial.committed()
    vote = trial.answer(trial.bench.second, Verb.PREPARE, key=trial.other_key)
    if not isinstance(vote, Prepared):
        trial.bench.notes.append("Of the same parameters a second action is refused, so a second effect cannot be.")
        return
    done = trial.answer(trial.bench.second, Verb.COMMIT, key=trial.other_key, receipt=vote.receipt)
    if isinstance(done, Permanent):
        return
    if trial.effects() != 1:
        return
    if trial.bench.setup.table.state:
        trial.bench.notes.append("A second effect was not looked for: what the action does is said to be a state.")
    else:
        raise CannotTry(
            "The records show the same after two actions as after one, so a second effect of one action could not be "
            "seen. Name under `counts` a record that grows with each; or say `state = true` if a second effect changes "
            "nothing."
        )
