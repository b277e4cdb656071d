"""Trials of compensate: it undoes once, whatever happens to who calls it, and says so only if it did (laws 8, 10)."""

from adapters.contract import Absent, Applied, Result
from adapters.laws.bench import Bench
from adapters.laws.faults import Fault, Kind
from adapters.laws.record import Record, change
from adapters.laws.trial import Heard, Trial, may_send_again, told
from adapters.laws.worker import Reply
from ledger.errors import Permanent, Transient
from ledger.intents import Undo, Verb


def try_undoing(bench: Bench) -> None:
    """Try whether an effect is undone once, whatever happens to who undoes it."""
    if not bench.undoes or not bench.undo.seen:
        return
    bench.run((9, 8), _asked_about)
    for fault in bench.faults(Verb.COMPENSATE, Kind.CUT, Kind.LATE, Kind.KILL):
        bench.run((8, 10, 9), _disturbed, fault)
    if bench.recognises:
        bench.run((8,), _repeated)
        bench.run((8,), _raced)
        for fault in bench.faults(Verb.COMPENSATE, Kind.STOP, Kind.SLEEP):
            bench.run((8,), _slept_through, fault)


def _undone(trial: Trial, done: Record, expected: int | None = 1) -> int | None:
    """Tell how often the records show that it was undone since it was done."""
    measured = trial.bench.undo
    return trial.patiently(lambda: measured.times(change(done.effects, trial.look().effects)), expected)


def _asked_about(trial: Trial) -> None:
    receipt, result = trial.committed()
    done = trial.look()
    trial.persist(Verb.COMPENSATE, receipt=receipt, result=result.data)
    if _undone(trial, done) != 1:
        _find(trial, "A compensation that nothing disturbed was answered as done.")
    standing = trial.answer(trial.bench.second, Verb.INQUIRE, about=Verb.COMPENSATE)
    if isinstance(standing, Absent):
        trial.find(9, "A compensation was made, and an inquiry about it answered Absent.", undo=Undo.NONE)


def _repeated(trial: Trial) -> None:
    receipt, result = trial.committed()
    done = trial.look()
    first = trial.persist(Verb.COMPENSATE, receipt=receipt, result=result.data)
    again = trial.persist(Verb.COMPENSATE, worker=trial.worker(), receipt=receipt, result=result.data)
    if not isinstance(again, Result) or again != first:
        _find(trial, f"A compensation {told(first)} Repeated by another process it {told(again)}")
    if _undone(trial, done) != 1:
        _find(trial, "A compensation was made, and repeated by another process.")


def _raced(trial: Trial) -> None:
    receipt, result = trial.committed()
    done = trial.look()
    racers = [trial.worker(), trial.bench.second]
    for racer in racers:
        trial.start(racer, Verb.COMPENSATE, receipt=receipt, result=result.data)
    for racer in racers:
        trial.hear(racer, Verb.COMPENSATE)
    trial.persist(Verb.COMPENSATE, receipt=receipt, result=result.data)
    if _undone(trial, done) != 1:
        _find(trial, "Two processes undid the same action at the same time.")


def _disturbed(trial: Trial, fault: Fault) -> None:
    receipt, result = trial.committed()
    done = trial.look()
    heard = trial.ask(trial.worker(), Verb.COMPENSATE, receipt=receipt, result=result.data, fault=fault)
    scene = f"A compensation {fault} and {told(heard)}"
    undone = _judge(trial, scene, done, heard)
    if undone is None:
        return
    standing = trial.answer(trial.bench.second, Verb.INQUIRE, about=Verb.COMPENSATE, epoch=2)
    if undone and isinstance(standing, Absent):
        trial.find(9, f"{scene} An inquiry about it answered Absent, and it has happened.", undo=Undo.NONE)
    if not undone and isinstance(standing, Applied):
        trial.find(9, f"{scene} An inquiry about it answered Applied, and it has not happened.", undo=Undo.NONE)
    if trial.bench.recognises or may_send_again(trial, heard, standing):
        again = trial.persist(Verb.COMPENSATE, receipt=receipt, result=result.data)
        if not isinstance(again, Result):
            _find(trial, f"{scene} Another process then repeated it. It {told(again)}")
        elif _undone(trial, done) != 1:
            _find(trial, f"{scene} Another process then repeated it.")


def _judge(trial: Trial, scene: str, done: Record, heard: Heard) -> int | None:
    answer = heard.answer if isinstance(heard, Reply) else None
    undone = _undone(trial, done, 1 if isinstance(answer, Result) else None)
    if undone is None:
        _find(trial, f"{scene} It was called once.")
    elif isinstance(answer, Result) and undone == 0:
        _find(trial, scene)
    elif isinstance(answer, Transient | Permanent) and undone == 1:
        trial.bench.find(10, f"{scene} That promises that nothing happened, and it was undone.", undo=Undo.NONE)
    return undone


def _slept_through(trial: Trial, fault: Fault) -> None:
    receipt, result = trial.committed()
    done = trial.look()
    sleeper = trial.worker()
    if not trial.stopped(sleeper, Verb.COMPENSATE, receipt=receipt, result=result.data, fault=fault):
        return
    trial.answer(trial.bench.second, Verb.COMPENSATE, epoch=2, receipt=receipt, result=result.data)
    sleeper.wake()
    heard = trial.hear(sleeper, Verb.COMPENSATE)
    trial.persist(Verb.COMPENSATE, receipt=receipt, result=result.data)
    if _undone(trial, done) != 1:
        _find(trial, f"A compensation {fault}, another process made it, and the first woke up: it {told(heard)}")


def _find(trial: Trial, sentence: str) -> None:
    trial.find(8, sentence, undo=Undo.NONE)
