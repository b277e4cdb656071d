"""Trials of commit: repeated, raced, cut, killed, late, and by a process that sleeps through it all (laws 5, 9, 10).

After each fault three things are compared: what the caller was told, what an inquiry tells, and what the records show.
Then another process goes on as the coordinator would: repeats, or asks and repeats, or leaves it.
"""

from adapters.contract import Absent, Applied, Held, Result
from adapters.laws.bench import Bench
from adapters.laws.faults import Fault, Kind
from adapters.laws.trial import Heard, Trial, may_send_again, told
from adapters.laws.worker import Answer, Reply
from ledger.errors import InDoubt, Permanent, Transient
from ledger.intents import JSON, Guarantee, Verb

RACES = 3
_AGAIN = "Another process then repeated it."


def try_committing(bench: Bench) -> None:
    """Try whether a commit has its effect once, whatever happens to who calls it."""
    for fault in bench.faults(Verb.COMMIT, Kind.CUT, Kind.LATE, Kind.KILL):
        bench.run((10, 5, 9), _disturbed, fault)
    if not bench.recognises:
        return
    bench.run((5,), _repeated)
    for _ in range(RACES):
        bench.run((5,), _raced)
    for fault in bench.faults(Verb.COMMIT, Kind.STOP, Kind.SLEEP):
        bench.run((5, 10), _slept_through, fault)
    if bench.undoes and bench.undo.seen:
        bench.run((5,), _repeated_after_undo)


def _repeated(trial: Trial) -> None:
    receipt, first = trial.committed()
    again = trial.persist(Verb.COMMIT, worker=trial.worker(), receipt=receipt)
    if not isinstance(again, Result):
        trial.find(5, f"A commit was answered as done; repeated by another process it {told(again)}")
    elif again != first:
        trial.find(5, f"A commit answered {first.data}; repeated by another process it answered {again.data}.")
    if trial.effects(1) != 1:
        trial.find(5, "A commit was made, and repeated by another process.")


def _raced(trial: Trial) -> None:
    receipt = trial.prepared().receipt
    racers = [trial.worker(), trial.bench.second]
    for racer in racers:
        trial.start(racer, Verb.COMMIT, receipt=receipt)
    for racer in racers:
        heard = trial.hear(racer, Verb.COMMIT)
        if isinstance(heard, Reply) and isinstance(heard.answer, Permanent):
            trial.find(5, f"Two processes committed at the same time, and one of them {told(heard)}")
    trial.persist(Verb.COMMIT, receipt=receipt)
    if trial.effects(1) != 1:
        trial.find(5, "Two processes committed at the same time, under one key.")


def _disturbed(trial: Trial, fault: Fault) -> None:
    receipt = trial.prepared().receipt
    heard = trial.ask(trial.worker(), Verb.COMMIT, receipt=receipt, fault=fault)
    scene = f"A commit {fault} and {told(heard)}"
    shown = _judge(trial, scene, heard)
    if shown is None:
        return
    standing = trial.answer(trial.bench.second, Verb.INQUIRE, epoch=2)
    judge_standing(trial, scene, standing, happened=shown == 1)
    if trial.bench.recognises:
        _repeat(trial, scene, receipt, shown)
    elif may_send_again(trial, heard, standing):
        trial.persist(Verb.COMMIT, receipt=receipt)
        if trial.effects(1) != 1:
            law = 10 if isinstance(heard, Reply) and isinstance(heard.answer, Transient) else 9
            trial.find(law, f"{scene} Then an inquiry {told(standing)} So it was sent again.")


def _judge(trial: Trial, scene: str, heard: Heard) -> int | None:
    """Compare what the caller was told with what the records show; return the number of effects, None for nonsense."""
    answer = heard.answer if isinstance(heard, Reply) else None
    shown = trial.effects(1 if isinstance(answer, Result) else None)
    if shown is None:
        trial.find(5, f"{scene} It was called once.", costs=Guarantee.BLIND)
    elif isinstance(answer, Result) and shown == 0:
        trial.find(5, scene, costs=Guarantee.BLIND)
    elif isinstance(answer, Transient | Permanent) and shown == 1:
        trial.find(10, f"{scene} That promises that nothing happened.")
    return shown


def judge_standing(trial: Trial, scene: str, standing: Answer, *, happened: bool) -> None:
    """Compare what an inquiry told with what the records show (law 9). `Unknown` is always true, and so is an error."""
    if happened and isinstance(standing, Absent | Held):
        trial.find(9, f"{scene} An inquiry answered {type(standing).__name__}, and it has happened.")
    elif not happened and isinstance(standing, Applied):
        trial.find(9, f"{scene} An inquiry answered Applied, and it has not happened.")


def _repeat(trial: Trial, scene: str, receipt: JSON | None, shown: int) -> None:
    again = trial.persist(Verb.COMMIT, receipt=receipt)
    if isinstance(again, Permanent) and shown == 1:
        trial.find(5, f"{scene} {_AGAIN} It {told(again)}")
    elif isinstance(again, Permanent) and trial.bench.atomic:
        trial.find(1, f"{scene} {_AGAIN} It {told(again)} Its prepare had given its word.", costs=Guarantee.ATOMIC)
    elif isinstance(again, Transient | InDoubt):
        trial.find(5, f"{scene} {_AGAIN} It never came to an end: it {told(again)}")
    elif isinstance(again, Result) and trial.effects(1) != 1:
        trial.find(5, f"{scene} {_AGAIN}")
    if trial.bench.hold.seen and trial.holds(0) != 0:
        trial.bench.find(5, f"{scene} {_AGAIN} Something is still held.", costs=Guarantee.ATOMIC)


def _slept_through(trial: Trial, fault: Fault) -> None:
    """Stop a process in its commit, let another finish the action, and wake the first."""
    receipt = trial.prepared().receipt
    sleeper = trial.worker()
    if not trial.stopped(sleeper, Verb.COMMIT, receipt=receipt, fault=fault):
        return
    trial.answer(trial.bench.second, Verb.COMMIT, epoch=2, receipt=receipt)
    sleeper.wake()
    heard = trial.hear(sleeper, Verb.COMMIT)
    trial.persist(Verb.COMMIT, receipt=receipt)
    scene = f"A commit {fault}, another process committed, and the first woke up: it {told(heard)}"
    if isinstance(heard, Reply) and isinstance(heard.answer, Permanent):
        trial.find(5, scene)
    if trial.effects(1) != 1:
        trial.find(5, scene)


def _repeated_after_undo(trial: Trial) -> None:
    """Let a commit arrive long after the action was undone."""
    receipt, result = trial.committed()
    trial.persist(Verb.COMPENSATE, receipt=receipt, result=result.data)
    undone = trial.look()
    late = trial.answer(trial.worker(), Verb.COMMIT, receipt=receipt)
    if trial.effects(since=undone) != 0:
        trial.find(5, f"An action was committed and undone; then an old commit of it arrived and {told(late)}")
