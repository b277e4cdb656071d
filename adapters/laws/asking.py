"""Trials of inquire: it tells the truth, also when it is disturbed, and changes nothing (law 9)."""

from adapters.contract import Absent, Applied, Held, Unknown
from adapters.laws.bench import Bench
from adapters.laws.committing import judge_standing
from adapters.laws.faults import Fault, Kind
from adapters.laws.trial import Trial, told
from adapters.laws.worker import Answer, Reply
from ledger.intents import Guarantee, Verb


def try_asking(bench: Bench) -> None:
    """Try whether an inquiry tells what has become of an action, at every stage of it."""
    bench.run((9,), _stages)
    for fault in bench.faults(Verb.INQUIRE, Kind.CUT, Kind.LATE):
        bench.run((9,), _disturbed, fault)
    if bench.operation.guarantee is Guarantee.VERIFIABLE and not bench.tells:
        bench.find(
            9, "Inquiries do not tell Absent before a commit and Applied after it; so a lost answer stays a doubt."
        )


def _stages(trial: Trial) -> None:
    before = _asked(trial, "Before anything was done,", happened=False)
    vote = trial.prepared()
    held = _asked(trial, "After prepare", happened=False)
    if trial.bench.atomic:
        if isinstance(held, Absent):
            trial.find(9, "After a prepare that holds, an inquiry answered Absent.")
        if isinstance(held, Held) and held.receipt != vote.receipt:
            trial.find(9, f"Prepare gave the receipt {vote.receipt}, and an inquiry {held.receipt}.")
    elif isinstance(held, Held):
        trial.find(9, "An inquiry answered Held about a one-shot, which holds nothing.")
    done = trial.answer(trial.bench.second, Verb.COMMIT, receipt=vote.receipt)
    applied = _asked(trial, f"After a commit that {told(done)}", happened=trial.effects(1) == 1)
    trial.bench.tells = isinstance(before, Absent) and isinstance(applied, Applied)
    standing = trial.answer(trial.bench.second, Verb.INQUIRE, about=Verb.COMPENSATE)
    if isinstance(standing, Applied):
        trial.find(9, "Nothing was undone, and an inquiry about the compensation answered Applied.")


def _asked(trial: Trial, scene: str, *, happened: bool) -> Answer:
    before = trial.look()
    standing = trial.answer(trial.bench.second, Verb.INQUIRE)
    judge_standing(trial, scene, standing, happened=happened)
    if trial.look() != before:
        trial.find(9, f"{scene} an inquiry changed what is shown or held.")
    return standing


def _disturbed(trial: Trial, fault: Fault) -> None:
    """Disturb an inquiry where nothing has happened, and where something has."""
    heard = trial.ask(trial.worker(), Verb.INQUIRE, fault=fault)
    if isinstance(heard, Reply):
        judge_standing(trial, f"An inquiry {fault}.", heard.answer, happened=False)
    trial.committed()
    heard = trial.ask(trial.worker(), Verb.INQUIRE, fault=fault)
    if isinstance(heard, Reply) and not isinstance(heard.answer, Unknown):
        judge_standing(trial, f"An inquiry {fault}.", heard.answer, happened=True)
