"""Side by side: what each outside system recorded for each action, and what the ledger says about it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from examples.demo.stage import Stage

_WANTED: Final[Mapping[str, tuple[int, int]]] = {"done": (1, 0), "undone": (1, 1)}  # effects, undone; else none
_EFFECTS: Final = frozenset({"confirm", "credit", "transfer"})


class Holding(NamedTuple):
    """One action: what the ledger says and what the outside holds."""

    intent: str
    phase: str  # as the ledger has it
    wanted_phase: str
    operation: str
    step: str
    effects: int
    undone: int
    words: str

    @property
    def agrees(self) -> bool:
        """Tell whether the outside is what the ledger says, and the intent ended as the story wants."""
        return (self.effects, self.undone) == _WANTED.get(self.step, (0, 0)) and self.phase == self.wanted_phase


async def holdings(
    stage: Stage, name: str, phase: str, shown: Mapping[str, Any], events: Sequence[Mapping[str, Any]]
) -> list[Holding]:
    """Look up every action of an intent outside, under the keys that its first event gave it."""
    found = []
    for plan, action in zip(events[0]["body"]["actions"], shown["actions"], strict=True):
        adapter = plan["operation"].partition(".")[0]
        if adapter == "crm":
            effects, undone, words = await _crm(stage, plan["params"]["customer"])
        elif adapter == "payments":
            effects, undone, words = _payments(stage, plan["key"], plan["undo_key"])
        else:
            effects, undone, words = _mailbox(stage, plan["key"], plan["undo_key"])
        found.append(Holding(name, shown["phase"], phase, plan["operation"], action["step"], effects, undone, words))
    return found


def show_holdings(console: Console, rows: Sequence[Holding], left: Sequence[str]) -> None:
    """Print the comparison, and whatever belongs to nobody."""
    table = Table(show_edge=False, pad_edge=False)
    for column in ("intent", "the ledger says", "operation", "step", "outside, in its own record", ""):
        table.add_column(column)
    previous = None
    for row in rows:
        first = row.intent != previous
        mark = "[green]same[/green]" if row.agrees else f"[red]DIFFERENT, wanted {row.wanted_phase}[/red]"
        table.add_row(
            row.intent if first else "",
            row.phase if first else "",
            row.operation,
            row.step,
            Text(row.words),
            mark,
        )
        previous = row.intent
    console.print(table)
    for sentence in left:
        console.print(f"[red]LEFT OVER[/red] {sentence}")


def show_audit(console: Console, entries: Sequence[Mapping[str, Any]]) -> None:
    """Print the audit's sentences, oldest first."""
    console.print("\n[bold]The audit[/bold] [dim]GET /v1/audit[/dim]")
    for entry in sorted(entries, key=lambda entry: entry["position"]):
        console.print(f"  {entry['sentence']}", markup=False)


def _payments(stage: Stage, key: str, undo_key: str) -> tuple[int, int, str]:
    lines = stage.paid()
    mine = [line for line in lines if line.get("key") in {key, undo_key}]
    effects = sum(line["what"] in _EFFECTS for line in mine)
    undone = sum(line["what"] == "reverse" for line in mine)
    return effects, undone, ", ".join(line["what"] for line in mine) or "nothing"


async def _crm(stage: Stage, customer: str) -> tuple[int, int, str]:
    """Look a customer up; each is in one intent of the story only."""
    rows = await stage.crm("select what from public.changes where customer = $1", customer)
    effects = sum(row["what"] == "apply" for row in rows)
    status = (await stage.crm("select status from public.customers where id = $1", customer))[0]["status"]
    return effects, len(rows) - effects, f"customer {customer} is {status}"


def _mailbox(stage: Stage, key: str, undo_key: str) -> tuple[int, int, str]:
    lines = stage.mailed()
    sent = [line for line in lines if key in line["headers"]["message-id"]]
    corrected = [line for line in lines if undo_key in line["headers"]["message-id"]]
    subjects = [line["headers"]["subject"] for line in sent + corrected]
    return len(sent), len(corrected), "; ".join(subjects) or "nothing"
