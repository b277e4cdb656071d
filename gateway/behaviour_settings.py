"""What is done about odd behaviour: the table [behaviour] of the configuration file.

    [behaviour]
    count = "suspend"        # note (the default), escalate, or suspend
    amount = "escalate"
    operation = "note"
    target = "note"
    denied = "escalate"
    approver = "note"        # note or suspend
    webhook = true           # tell the receiver of webhooks of every anomaly; false by default
    stands_hours = 24        # how long policy sees an anomaly, unless a person clears it

    [[behaviour.rules]]      # the first that matches wins over the above
    operation = "payments.*"
    agent = "refunder"       # optional
    kind = "count"           # optional
    response = "suspend"

What is odd is not configured: views must say the same of the same events for ever (`projections/behaviour/view.py`).
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from adapters.tables import Table
from gateway.config_section import section
from ledger.grants import PATTERN, covers

Response = Literal["note", "escalate", "suspend"]


class Rule(Table):
    """What is done about some anomalies."""

    response: Response
    operation: Annotated[str, Field(pattern=PATTERN)] = "*"
    agent: str | None = None
    kind: Literal["count", "amount", "operation", "target", "denied", "approver"] | None = None


class BehaviourSettings(Table):
    """What is done about odd behaviour. Without configuration it is noted, and nothing else."""

    count: Response = "note"
    amount: Response = "note"
    operation: Response = "note"
    target: Response = "note"
    denied: Response = "note"
    approver: Literal["note", "suspend"] = "note"
    webhook: bool = False
    stands_hours: Annotated[int, Field(ge=1, le=24 * 31)] = 24
    rules: Annotated[tuple[Rule, ...], Field(max_length=100)] = ()

    def response(self, kind: str, name: str, operation: str | None) -> Response:
        """Return what is done about an anomaly of this kind of this agent with this operation."""
        for rule in self.rules:
            about = rule.operation == "*" or (operation is not None and covers(rule.operation, operation))
            if about and rule.agent in {None, name} and rule.kind in {None, kind}:
                return rule.response
        response: Response = getattr(self, kind)
        return response


def load_behaviour(path: Path | None) -> BehaviourSettings:
    """Read the table; what it does not say is noted only. Raises `Misconfigured` with a sentence on each fault."""
    return section(path, "behaviour", BehaviourSettings)
