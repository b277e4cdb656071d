"""A small run in which nothing is wrong, for the checker to be lied to about: position n happens at second n.

operator ─┬─ manager ─┬─ agent      commits `good` and `asked`, aborts `bad`, compensates `back`; then it is
          │           └─ friend     revoked, and `stopped` with it
          └─ finance-1, finance-2
"""

import hashlib
import json
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

from traces import Answer, Attempt, Evidence, Frozen, Revocation, Trace

START = datetime(2026, 1, 1, tzinfo=UTC)
PREVIEW = {"facts": {"amount": 1}, "before": {}, "after": {}}
ALL = ("payments.*",)
BY_AGENTS = {"operation": "payments.credit", "measure": "amount", "currency": "USD", "per": "hour", "max": 50}
COUNTED = {"operation": "payments.*", "measure": "count", "currency": None, "per": "total", "max": 4, "each": "grant"}
CHARGED = [
    {"limit": "manager/0/agent", "per": "hour", "amount": 20, "max": 50},
    {"limit": "agent/0", "per": "total", "amount": 2, "max": 4},
]
DECIDED = {"grant": "agent", "policies": ["p-1"], "charges": CHARGED, "approved_by": []}


def moment(position: float) -> datetime:
    return START + timedelta(seconds=position)


def trace(what: str, key: str, second: float, money: tuple[int, str] | None = None) -> Trace:
    return Trace("payments", key, what, moment(second), money)


class Honest:
    """Builds the run; `evidence` is what it left behind."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.intents: dict[str, dict[str, Any]] = {}
        self.attempts: list[Attempt] = []
        self.traces: list[Trace] = []
        self._grants()
        self._record("policies", 1, "PolicySetActivated", policy_set="set-1", custody=["operator"])
        done = ["CommitDecided", "CommitInDoubt:a", "ActionDone:a", "ActionDone:b", "IntentCommitted"]
        self._intent("good", "committed", ["done", "done"], ["PolicyEvaluated", *done])
        self._outside("good", ("hold", "a", 0.5), ("apply", "a", 3), ("apply", "b", 4.5))
        way = ["PolicyEvaluated", "PrepareInDoubt:a", "AbortDecided", "ActionAborted:a", "IntentAborted"]
        self._intent("bad", "aborted", ["aborted", "aborted"], way)
        self._outside("bad", ("hold", "a", 2), ("release", "a", 4))
        back = ["CompensateDecided", "ActionUndone:b", "ActionUndone:a", "IntentCompensated"]
        way = ["PolicyEvaluated", "CommitDecided", "ActionDone:a", "ActionDone:b", *back]
        self._intent("back", "compensated", ["undone", "undone"], way)
        self._outside(
            "back", ("apply", "a", 2.5), ("apply", "b", 3.5), ("undo", "b/undo", 5.5), ("undo", "a/undo", 6.5)
        )
        way = ["PolicyEvaluated", "ActionPrepared:a", "ApprovalRequested", "ApprovalGiven:1", "ApprovalGiven:2"]
        self._intent("asked", "committed", ["done", "done"], [*way, "CommitDecided", *done[2:]], amount=90)
        self._outside("asked", ("apply", "a", 6.5), ("apply", "b", 7.5), amount=90)
        self._record("policies", 2, "PolicySetActivated", policy_set="set-2", custody=["operator"])
        self._intent("stopped", "aborted", ["aborted", "aborted"], ["PolicyEvaluated"])
        self._record("grant/agent", 2, "GrantRevoked", grant="agent", custody=["operator", "manager"])
        self._intent("stopped", "aborted", ["aborted", "aborted"], ["AbortDecided", "IntentAborted"])
        self.evidence = self._evidence()

    def _evidence(self) -> Evidence:
        revoked = float(len(self.events) - 2)
        return Evidence(
            events=self.events,
            intents=self.intents,
            attempts=self.attempts,
            traces=self.traces,
            earlier=deepcopy(self.events[:12]),
            frozen=[Frozen("good", 7, moment(30))],
            faults={"kill": 3},
            required={"kill": 1},
            views={"audit": "d1"},
            rebuilt={"audit": "d1"},
            inline={"grants": True},
            head=(9, 9),
            outside_calls=(4, 4),
            healed_seconds=3.0,
            healing_limit_seconds=30.0,
            revocations=[Revocation("agent", revoked, revoked + 0.5, 200, ("stopped",), ("asked",))],
            answers=[
                Answer("asked", "approve", f"finance-{n}", f"finance-{n}", self._digest("asked"), 200) for n in (1, 2)
            ],
            books={one: {"alone": 60, "two": 85, "credit": 95} for one in ("set-1", "set-2")},
            repeated={"verdicts": 5, "decisions": 3, "wrong": None},
        )

    # ── events ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _record(self, stream: str, version: int, kind: str, **body: Any) -> None:
        position = len(self.events) + 1
        event = {"position": position, "version": version, "type": kind, "stream": stream, "body": body}
        self.events.append(event | {"at": moment(position).isoformat()})

    def _grants(self) -> None:
        for name, above, kind, limits in (
            ("operator", (), "person", []),
            ("manager", ("operator",), "person", [BY_AGENTS | {"each": "agent"}]),
            ("agent", ("operator", "manager"), "agent", [COUNTED]),
            ("friend", ("operator", "manager"), "person", []),
            ("finance-1", ("operator",), "person", []),
            ("finance-2", ("operator",), "person", []),
        ):
            role = "finance" if name.startswith(("finance", "friend")) else None
            self._record(
                "grants" if not above else f"grant/{name}",
                1,
                "GrantIssued",
                grant=name,
                parent=above[-1] if above else None,
                subject={"kind": kind, "name": name, "role": role},
                operations=list(ALL),
                limits=deepcopy(limits),
                custody=[*above, name],
            )

    def _intent(self, intent: str, phase: str, steps: list[str], kinds: list[str], amount: int = 10) -> None:
        """Add an intent, or the rest of one."""
        known = [event for event in self.events if event["stream"] == f"intent/{intent}"]
        if not known:
            started = float(len(self.events) + 1)
            attempt = Attempt(f"key-{intent}", "body", "accepted", started, started + 0.5, 202, intent, "agent")
            self.attempts.append(attempt)
            kinds = ["IntentSubmitted", *kinds]
        for version, kind in enumerate(kinds, len(known) + 1):
            name, _, about = kind.partition(":")
            self._record(f"intent/{intent}", version, name, **self._body(intent, name, about, amount))
        actions = [{"id": n, "step": step} for n, step in zip("ab", steps, strict=True)]
        self.intents[intent] = {"phase": phase, "attention": None, "actions": actions}

    def _body(self, intent: str, kind: str, about: str, amount: int) -> dict[str, Any]:
        asks = {"approvers": ["finance"], "quorum": 2} if amount > 85 else {"approvers": [], "quorum": 1}
        policy_set = "set-2" if intent == "stopped" else "set-1"
        match kind:
            case "IntentSubmitted":
                custody = ["operator", "manager", "agent"]
                body = {"idempotency_key": f"key-{intent}", "grant": "agent", "custody": custody}
                return body | {"actions": plans(intent, amount)}
            case "PolicyEvaluated":
                effect = "escalate" if amount > 85 else "allow"
                return {"effect": effect, "policies": ["p-1"], "policy_set": policy_set, **asks}
            case "ApprovalRequested":
                return {"digest": self._digest(intent), "expires_at": moment(999).isoformat(), **asks}
            case "ApprovalGiven":
                by = f"finance-{about}"
                return {"digest": self._digest(intent), "by": by, "grant": by}
            case "CommitDecided":
                people = ["finance-1", "finance-2"] if amount > 85 else []
                return deepcopy(DECIDED) | {"policy_set": policy_set, "approved_by": people}
            case "AbortDecided":
                return {"cause": "revoked" if intent == "stopped" else "refused", "reason": "so it is"}
            case "CompensateDecided":
                return {"cause": "failed", "reason": "so it is"}
        return {"action": about, "preview": deepcopy(PREVIEW)} if about else {}

    def _digest(self, intent: str) -> str:
        wanted = ("id", "operation", "params")
        plan = next(e for e in self.events if e["stream"] == f"intent/{intent}")["body"]["actions"]
        shown = {e["body"]["action"]: e["body"]["preview"] for e in self.events if e["type"] == "ActionPrepared"}
        actions = [{name: one[name] for name in wanted} | {"preview": shown.get(one["id"])} for one in plan]
        text = json.dumps({"actions": actions, "policy_set": "set-1"}, sort_keys=True, separators=(",", ":"))
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    # ── the outside ──────────────────────────────────────────────────────────────────────────────────────────────

    def _outside(self, intent: str, *traces: tuple[str, str, float], amount: int = 10) -> None:
        """Add traces at seconds after the intent was submitted."""
        since = next(e["position"] for e in self.events if e["stream"] == f"intent/{intent}")
        for what, key, second in traces:
            money = ({"a": amount, "b": 20}[key[0]], "USD") if what in {"hold", "apply"} else None
            self.traces.append(trace(what, f"{intent}/{key}", since + second, money))


def plans(intent: str, amount: int) -> list[dict[str, Any]]:
    def plan(name: str, operation: str, minor: int) -> dict[str, Any]:
        params = {"amount": minor, "currency": "USD"}
        keys = {"key": f"{intent}/{name}", "undo_key": f"{intent}/{name}/undo"}
        return {"id": name, "operation": operation, "params": params, **keys}

    return [plan("a", "payments.refund", amount), plan("b", "payments.credit", 20)]
