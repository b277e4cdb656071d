# ruff: noqa: INP001 (docs is not a package)
"""Draw `docs/states.md` from the tables of the ledger (`python docs/draw_states.py`).

A diagram drawn by hand drifts; `tests/unit/test_state_table.py` compares the file with what this draws.
"""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from ledger.phases import TERMINAL, Phase, Step
from ledger.transitions import PHASES, STEPS, SWEEPS
from ledger.undo_state import PLANS, PlanPhase

TARGET = Path(__file__).with_name("states.md")
HEADER = """# The states of an intent and of its actions

Drawn from the tables in `ledger/transitions.py` by `docs/draw_states.py`; do not edit.
An arrow is an event. What has no arrow is not allowed.

"""


def draw() -> str:
    """Return the whole text of `docs/states.md`."""
    return "\n".join(
        [
            HEADER + "## Phases of an intent\n",
            _diagram(PHASES, first=[Phase.SUBMITTED], last=sorted(TERMINAL)),
            "Events that leave the phase as it is:\n",
            _staying(PHASES),
            "## Steps of an action\n",
            _diagram(STEPS, first=[Step.PLANNED], last=[]),
            "Events that leave the step as it is:\n",
            _staying(STEPS),
            "## What the end of an intent makes of its actions\n",
            _sweeps(),
            "## Phases of an undo plan\n",
            "From `ledger/undo_state.py`. What becomes of each of its intents stands in the tables above.\n",
            _diagram(PLANS, first=[PlanPhase.PLANNED], last=[PlanPhase.DONE]),
            "Events that leave the phase as it is:\n",
            _staying(PLANS),
        ]
    )


def _diagram(table: Mapping[tuple[str, str], str], first: list[str], last: list[str]) -> str:
    arrows: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (source, event), target in table.items():
        if source != target:
            arrows[source, target].append(event)
    lines = ["```mermaid", "stateDiagram-v2", "    direction LR"]
    lines += [f"    [*] --> {name}" for name in first]
    lines += [
        f"    {source} --> {target}: {'<br/>'.join(sorted(_short(event) for event in events))}"
        for (source, target), events in arrows.items()
    ]
    lines += [f"    {name} --> [*]" for name in last]
    return "\n".join([*lines, "```", ""])


def _staying(table: Mapping[tuple[str, str], str]) -> str:
    staying: dict[str, list[str]] = defaultdict(list)
    for (source, event), target in table.items():
        if source == target:
            staying[source].append(event)
    return "\n".join([*(f"- `{name}`: {', '.join(sorted(events))}" for name, events in staying.items()), ""])


def _sweeps() -> str:
    ends = list(dict.fromkeys(event for _, event in SWEEPS))
    lines = ["| step | " + " | ".join(ends) + " |", "|---|" + "---|" * len(ends)]
    for step in Step:
        if any((step, end) in SWEEPS for end in ends):
            cells = [SWEEPS[step, end].value if (step, end) in SWEEPS else "" for end in ends]
            lines.append(f"| {step.value} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _short(event: str) -> str:
    return event.replace(":", " ")  # a colon begins the label in Mermaid


if __name__ == "__main__":
    TARGET.write_text(draw())
