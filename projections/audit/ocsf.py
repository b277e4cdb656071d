"""An audit entry as an event of the Open Cybersecurity Schema Framework: API Activity (6003), OCSF 1.8.0. Pure.

What the entry says goes to the attribute that means it; what OCSF has no attribute for stands in `unmapped` under the
name that it has in `GET /v1/audit`. `docs/audit.md` has the table. `metadata.uid` names one state of one entry: if it
comes out differently later, that is another OCSF event of the same `metadata.sequence`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from ledger.ids import intent_of
from ledger.phases import TERMINAL, Phase
from projections.audit.entry import Act, AuditRow, Kind, Verification
from projections.audit.forms import entry_json, whom
from projections.audit.sentence import actor_kind, sentence

VERSION: Final = "1.8.0"
_CLASS: Final = 6003
_CREATE, _UPDATE, _DELETE, _OTHER = 1, 3, 4, 99
_ACTIVITY_NAMES: Final = {_CREATE: "Create", _UPDATE: "Update", _DELETE: "Delete"}
_ACTIVITIES: Final[Mapping[Kind, int]] = {  # whatever is not here is Other, and is named by its kind
    Kind.ISSUE: _CREATE,
    Kind.ADD_POLICY: _CREATE,
    Kind.DEFINE_TASK: _CREATE,
    Kind.PLAN_UNDO: _CREATE,
    Kind.APPROVE: _UPDATE,
    Kind.REJECT: _UPDATE,
    Kind.CANCEL: _UPDATE,
    Kind.UNDO: _UPDATE,
    Kind.RESOLVE: _UPDATE,
    Kind.SUSPEND: _UPDATE,
    Kind.RESUME: _UPDATE,
    Kind.ACTIVATE_POLICY: _UPDATE,
    Kind.APPROVE_UNDO: _UPDATE,
    Kind.CONFIGURE: _UPDATE,
    Kind.CLEAR_ANOMALY: _UPDATE,
    Kind.REVOKE: _DELETE,
    Kind.ERASE: _DELETE,
}
_INFORMATIONAL, _LOW, _MEDIUM, _HIGH = 1, 2, 3, 4
_SEVERITY_NAMES: Final = {_INFORMATIONAL: "Informational", _LOW: "Low", _MEDIUM: "Medium", _HIGH: "High"}
_SEVERITIES: Final[Mapping[str, int]] = {  # by outcome; whatever is not here is informational
    Phase.DENIED: _LOW,
    Phase.ABORTED: _LOW,
    Phase.COMPENSATED: _LOW,
    Phase.MIXED: _HIGH,
    Act.REFUSED: _MEDIUM,
    Act.TOKEN_UNKNOWN: _LOW,
    Act.TOKEN_EXPIRED: _LOW,
    Act.TOKEN_REVOKED: _MEDIUM,
    Act.TOKEN_SUSPENDED: _MEDIUM,
    Act.ANOMALY_DETECTED: _MEDIUM,
    Act.SUSPENDED: _MEDIUM,
    Act.CONFIGURED: _MEDIUM,
    Act.UNDO_HALTED: _MEDIUM,
    Act.DIVERGENCE_FOUND: _HIGH,
}
_SUCCESS: Final = (1, "Success")
_FAILURE: Final = (2, "Failure")
_UNKNOWN: Final = (0, "Unknown")
_MAPPED: Final = frozenset(("position", "at", "kind", "sentence", "intent", "actor", "outcome_at", "what", "whom"))


def ocsf_event(ledger: str, entry: AuditRow) -> dict[str, Any]:
    """Return an entry as an OCSF event."""
    activity = _ACTIVITIES.get(entry.kind, _OTHER)
    activity_name = _ACTIVITY_NAMES.get(activity, entry.kind.value)
    severity = _severity(entry)
    status_id, status = _status(entry)
    shown = entry_json(entry)
    return {
        "activity_id": activity,
        "activity_name": activity_name,
        "category_uid": 6,
        "category_name": "Application Activity",
        "class_uid": _CLASS,
        "class_name": "API Activity",
        "type_uid": _CLASS * 100 + activity,
        "type_name": f"API Activity: {activity_name}",
        "time": _milliseconds(entry.outcome_at),
        "start_time": _milliseconds(entry.at),
        "severity_id": severity,
        "severity": _SEVERITY_NAMES[severity],
        "status_id": status_id,
        "status": status,
        "status_code": entry.outcome,
        **({"status_detail": entry.reason} if entry.reason is not None else {}),
        "message": sentence(entry),
        "metadata": {
            "version": VERSION,
            "uid": f"{entry.position}.{entry.outcome_position}",
            "sequence": entry.position,
            "event_code": entry.kind.value,
            "log_name": "audit",
            "tenant_uid": ledger,
            "product": {"name": "Intent Ledger", "vendor_name": "Intent Ledger"},
        },
        "actor": _actor(entry),
        "src_endpoint": {"svc_name": _source(entry)},
        "api": _api(entry),
        "resources": _resources(entry),
        "unmapped": {
            name: value for name, value in shown.items() if name not in _MAPPED and value is not None and value != ()
        },
    }


def _severity(entry: AuditRow) -> int:
    if entry.attention is not None or entry.verification is Verification.CONTRADICTED:
        return _HIGH
    return _SEVERITIES.get(entry.outcome, _INFORMATIONAL)


def _status(entry: AuditRow) -> tuple[int, str]:
    if entry.kind in {Kind.REFUSE_TOKEN, Kind.REFUSE}:
        return _FAILURE
    if entry.kind in {Kind.ANOMALY, Kind.RECONCILE}:
        return 99, entry.outcome  # something that was seen, neither done nor refused
    if entry.kind is not Kind.INTENT:
        return _SUCCESS
    phase = Phase(entry.outcome)
    if phase not in TERMINAL:
        return _UNKNOWN
    return _SUCCESS if phase in {Phase.COMMITTED, Phase.SIMULATED} else _FAILURE


def _actor(entry: AuditRow) -> dict[str, Any]:
    name = entry.by if entry.by is not None else entry.agent
    if name is None:
        return {"app_name": "intent-ledger"}  # nobody is known
    agent = actor_kind(entry) == "agent"
    user: dict[str, Any] = {"name": name, "type_id": 4 if agent else 1, "type": "Service" if agent else "User"}
    if entry.grant_id is not None:
        user["programmatic_credentials"] = [{"uid": entry.grant_id, "type": "Access Token"}]
    actor: dict[str, Any] = {"user": user}
    if agent and name == entry.agent:
        actor["app_name"] = name if entry.agent_version is None else f"{name} {entry.agent_version}"
    if entry.effect is not None:
        policies = [{"name": policy, "uid": entry.policy_set} for policy in entry.policies] or [
            {"uid": entry.policy_set}
        ]
        actor["authorizations"] = [{"decision": entry.effect, "policy": policy} for policy in policies]
    return actor


def _source(entry: AuditRow) -> str:
    """Name where it came from, as far as the ledger knows: no addresses are recorded."""
    return (entry.by if entry.by is not None else entry.agent) or "intent-ledger"


def _api(entry: AuditRow) -> dict[str, Any]:
    services = sorted({operation.partition(".")[0] for operation in entry.operations})
    api: dict[str, Any] = {
        "operation": ", ".join(entry.operations) if entry.kind is Kind.INTENT else entry.kind.value,
        "request": {"uid": intent_of(entry.stream) or entry.stream},
    }
    if len(services) == 1:
        api["service"] = {"name": services[0]}
    if entry.confirmed is not None:
        api["response"] = {"data": msgspec.Raw(entry.confirmed.encode())}
    return api


def _resources(entry: AuditRow) -> list[dict[str, Any]]:
    """Return whom it reached, one for each action, with what was to be done to them."""
    reached = whom(entry)
    if not entry.actions:
        return [{"name": name, "type": entry.kind.value} for name in reached]
    return [
        {"name": name, "type": operation, "uid": action, "data": {"summary": summary}}
        for name, operation, action, summary in zip(
            reached, entry.operations, entry.actions, entry.summaries, strict=True
        )
    ]


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
