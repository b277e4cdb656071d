"""Trials of holds: they survive, are taken once, always end, and stand against old processes (laws 2, 3, 6, 7)."""

from adapters.contract import Absent, Prepared, Refused, Result
from adapters.laws.bench import Bench
from adapters.laws.faults import Fault, Kind
from adapters.laws.trial import Over, Trial, told
from adapters.laws.worker import Reply
from ledger.errors import AdapterError, Permanent, Transient
from ledger.intents import JSON, Guarantee, Verb

_NEVER = "Nobody will ever let it go."


def try_holding(bench: Bench) -> None:
    """Try what an atomic operation promises about its hold."""
    if not bench.atomic or not bench.hold.seen:
        return
    bench.run((2,), _survives)
    bench.run((1,), _kept_word)
    bench.run((3,), _repeated)
    bench.run((3,), _raced)
    for fault in bench.faults(Verb.PREPARE, Kind.CUT, Kind.LATE, Kind.KILL):
        bench.run((3, 10, 4), _taken_again, fault)
        bench.run((6,), _let_go_unseen, fault)
    for fault in bench.faults(Verb.PREPARE, Kind.STOP, Kind.SLEEP):
        bench.run((3,), _slept_through_commit, fault)
        bench.run((6,), _slept_through_abort, fault)
    for with_receipt in (True, False):
        bench.run((6, 5), _aborted, with_receipt)
    bench.run((6,), _aborted_first)
    bench.run((6,), _raced_abort)
    for fault in bench.faults(Verb.ABORT, Kind.CUT, Kind.LATE, Kind.KILL):
        bench.run((6,), _abort_disturbed, fault)
    bench.run((7,), _stale)


# ── laws 1 and 2: the word is kept ───────────────────────────────────────────────────────────────────────────────


def _survives(trial: Trial) -> None:
    owner = trial.worker()
    receipt = trial.prepared(owner).receipt
    trial.kill(owner)
    if trial.holds(1) != 1:
        trial.find(2, "The process that took a hold was killed, and `holds` no longer shows it.")
    standing = trial.answer(trial.bench.second, Verb.INQUIRE, epoch=2)
    if isinstance(standing, Absent):
        trial.find(2, "The process that took a hold was killed, and another one was told that there is none.")
    done = trial.persist(Verb.COMMIT, receipt=receipt)
    if not isinstance(done, Result):
        trial.find(2, f"The process that took a hold was killed; another one's commit {told(done)}")
    elif trial.effects(1) != 1 or trial.holds(0) != 0:
        trial.find(5, "A hold was committed by another process than took it.", costs=Guarantee.ATOMIC)


def _kept_word(trial: Trial) -> None:
    """Let another action want the same between prepare and commit."""
    receipt = trial.prepared().receipt
    rival = trial.answer(trial.bench.second, Verb.PREPARE, key=trial.other_key)
    done = trial.persist(Verb.COMMIT, receipt=receipt)
    if not isinstance(done, Result):
        trial.find(1, f"A hold was taken, another action wanted the same and {told(rival)} Then commit {told(done)}")


# ── law 3: one hold ──────────────────────────────────────────────────────────────────────────────────────────────


def _repeated(trial: Trial) -> None:
    first = trial.prepared(trial.worker())
    again = trial.persist(Verb.PREPARE)
    if not isinstance(again, Prepared):
        trial.find(3, f"A prepare that holds was repeated by another process and {told(again)}")
    elif again.receipt != first.receipt:
        trial.find(3, f"A prepare gave the receipt {first.receipt}; repeated, it gave {again.receipt}.")
    _one_hold(trial, "A prepare was made, and repeated by another process.")


def _raced(trial: Trial) -> None:
    racers = [trial.worker(), trial.bench.second]
    for racer in racers:
        trial.start(racer, Verb.PREPARE)
    votes = [trial.hear(racer, Verb.PREPARE) for racer in racers]
    for vote in votes:
        if isinstance(vote, Reply) and isinstance(vote.answer, Refused | Permanent):
            trial.find(3, f"Two processes prepared the same at the same time, and one of them {told(vote)}")
    last = trial.prepared()
    receipts = [vote.answer.receipt for vote in votes if isinstance(vote, Reply) and isinstance(vote.answer, Prepared)]
    if any(receipt != last.receipt for receipt in receipts):
        trial.find(3, f"Two processes prepared the same at the same time, and have the receipts {receipts}.")
    _one_hold(trial, "Two processes prepared the same at the same time.")


def _taken_again(trial: Trial, fault: Fault) -> None:
    """Disturb a prepare, and let another process prepare and commit."""
    heard = trial.ask(trial.worker(), Verb.PREPARE, fault=fault)
    scene = f"A prepare {fault} and {told(heard)}"
    if trial.effects() != 0:
        trial.find(4, scene)
    if isinstance(heard, Reply) and isinstance(heard.answer, Refused | Permanent | Transient) and trial.holds(0) != 0:
        trial.bench.find(10, f"{scene} That promises that nothing is held, and it is.", costs=Guarantee.ATOMIC)
    vote = trial.persist(Verb.PREPARE)
    if not isinstance(vote, Prepared):
        if not (isinstance(heard, Reply) and isinstance(heard.answer, Refused | Permanent)):
            trial.find(3, f"{scene} Another process repeated it and {told(vote)}")
        return
    _one_hold(trial, f"{scene} Another process repeated it.")
    _commit(trial, vote.receipt, scene)


def _slept_through_commit(trial: Trial, fault: Fault) -> None:
    """Stop a process in its prepare, let another prepare and commit, and wake the first."""
    sleeper = trial.worker()
    if not trial.stopped(sleeper, Verb.PREPARE, fault=fault):
        return
    vote = trial.answer(trial.bench.second, Verb.PREPARE, epoch=2)
    if isinstance(vote, Prepared):
        trial.answer(trial.bench.second, Verb.COMMIT, epoch=2, receipt=vote.receipt)
    sleeper.wake()
    heard = trial.hear(sleeper, Verb.PREPARE)
    scene = f"A prepare {fault}, another process prepared and committed, and the first woke up: it {told(heard)}"
    if not isinstance(vote, Prepared):  # what the sleeper had open was in its way
        vote = trial.persist(Verb.PREPARE)
    if not isinstance(vote, Prepared):
        trial.find(3, f"{scene} Then a prepare {told(vote)}")
        return
    _commit(trial, vote.receipt, scene)


# ── law 6: abort ─────────────────────────────────────────────────────────────────────────────────────────────────


def _aborted(trial: Trial, with_receipt: bool) -> None:
    vote = trial.prepared(trial.worker())
    receipt = vote.receipt if with_receipt else None
    scene = f"A hold was aborted, {'with its receipt' if with_receipt else 'by its key alone'}, twice."
    for epoch in (1, 2):
        _abort(trial, scene, epoch=epoch, receipt=receipt)
    _gone(trial, scene)
    done = trial.answer(trial.bench.second, Verb.COMMIT, epoch=2, receipt=vote.receipt)
    if trial.effects() != 0 or not isinstance(done, AdapterError):
        trial.find(5, f"{scene} Then a commit {told(done)}", costs=Guarantee.ATOMIC)
    again = trial.persist(Verb.PREPARE, key=trial.other_key)
    if not isinstance(again, Prepared):
        trial.find(6, f"{scene} Another action that wants the same {told(again)}")


def _aborted_first(trial: Trial) -> None:
    scene = "An abort overtook its prepare."
    _abort(trial, scene)
    _gone(trial, scene)


def _raced_abort(trial: Trial) -> None:
    racer = trial.worker()
    trial.start(racer, Verb.PREPARE)
    trial.start(trial.bench.second, Verb.ABORT, epoch=2)
    aborted = trial.hear(trial.bench.second, Verb.ABORT)
    vote = trial.hear(racer, Verb.PREPARE)
    scene = f"Of a prepare and an abort at the same time the one {told(vote)} The other {told(aborted)}"
    if not (isinstance(aborted, Reply) and aborted.answer is None):
        _abort(trial, scene)
    _gone(trial, scene)


def _let_go_unseen(trial: Trial, fault: Fault) -> None:
    """Disturb a prepare, and let another process abort it, which knows no receipt."""
    heard = trial.ask(trial.worker(), Verb.PREPARE, fault=fault)
    scene = f"A prepare {fault} and {told(heard)} Another process aborted it."
    _abort(trial, scene)
    _gone(trial, scene)


def _slept_through_abort(trial: Trial, fault: Fault) -> None:
    """Stop a process in its prepare, let another abort it, and wake the first: abort wins."""
    sleeper = trial.worker()
    if not trial.stopped(sleeper, Verb.PREPARE, fault=fault):
        return
    aborted = trial.answer(trial.bench.second, Verb.ABORT, epoch=2)
    sleeper.wake()
    heard = trial.hear(sleeper, Verb.PREPARE)
    scene = f"A prepare {fault}, another process aborted it, and the first woke up: it {told(heard)}"
    if aborted is not None:  # what the sleeper had open was in its way
        _abort(trial, scene)
    _gone(trial, scene)


def _abort_disturbed(trial: Trial, fault: Fault) -> None:
    receipt = trial.prepared().receipt
    heard = trial.ask(trial.worker(), Verb.ABORT, receipt=receipt, fault=fault)
    scene = f"An abort {fault} and {told(heard)}"
    if isinstance(heard, Reply) and heard.answer is None and trial.holds(0) != 0:
        trial.bench.find(6, f"{scene} Something is still held.")
    _abort(trial, f"{scene} Another process repeated it.", receipt=receipt)
    _gone(trial, f"{scene} Another process repeated it.")


# ── law 7: old processes ─────────────────────────────────────────────────────────────────────────────────────────


def _stale(trial: Trial) -> None:
    first = trial.prepared(epoch=5)
    stale = trial.answer(trial.worker(), Verb.PREPARE, epoch=4)
    if isinstance(stale, Prepared):
        trial.bench.notes.append("It keeps no fence: a prepare of an older epoch is answered as a repeated one.")
    if isinstance(stale, Prepared) and stale.receipt != first.receipt:
        trial.find(7, f"A prepare of an older epoch was given the receipt {stale.receipt} instead of {first.receipt}.")
    if trial.holds(1) != 1:
        trial.find(7, "A prepare of an older epoch changed what is held.")
    trial.persist(Verb.COMMIT, epoch=5, receipt=first.receipt)
    late = trial.answer(trial.worker(), Verb.PREPARE, epoch=4)
    if trial.effects(1) != 1 or trial.holds(0) != 0:
        trial.find(7, f"After the commit a prepare of an older epoch {told(late)}")


# ── what many of them share ──────────────────────────────────────────────────────────────────────────────────────


def _abort(trial: Trial, scene: str, *, epoch: int = 2, receipt: JSON | None = None) -> None:
    answer = trial.persist(Verb.ABORT, epoch=epoch, receipt=receipt)
    if answer is not None:
        trial.find(6, f"{scene} The abort {told(answer)}")
        raise Over


def _gone(trial: Trial, scene: str) -> None:
    """Expect no hold, no trace, and that the abort stands against every later prepare."""
    if trial.holds(0) != 0:
        trial.bench.find(6, f"{scene} Something is still held. {_NEVER}")
    if trial.effects() != 0:
        trial.find(6, scene)
    for epoch in (1, 9):
        late = trial.answer(trial.bench.second, Verb.PREPARE, epoch=epoch)
        if isinstance(late, Prepared):
            trial.bench.find(6, f"{scene} Then a late prepare {told(late)} {_NEVER}")
            raise Over
    if trial.holds(0) != 0:
        trial.bench.find(6, f"{scene} Then a late prepare was not answered Prepared, and something is held. {_NEVER}")


def _one_hold(trial: Trial, scene: str) -> None:
    if trial.holds(1) != 1:
        trial.bench.find(3, f"{scene} `holds` does not show one hold.")


def _commit(trial: Trial, receipt: JSON | None, scene: str) -> None:
    done = trial.persist(Verb.COMMIT, receipt=receipt)
    if not isinstance(done, Result):
        trial.find(1, f"{scene} It was prepared, and then commit {told(done)}", costs=Guarantee.ATOMIC)
    elif trial.effects(1) != 1:
        trial.find(5, f"{scene} It was prepared and committed.")
    elif trial.holds(0) != 0:
        trial.bench.find(3, f"{scene} It was prepared and committed, and something is still held. {_NEVER}")
