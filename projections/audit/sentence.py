"""An audit entry in one sentence. Pure.

The sentence is made so that it can be read aloud:

    Payment Specialist Agent v3.1, task 12A, commissioned by Manager X, under policy P-45: refund 42.00 USD to
    customer 88, committed
    Manager X issued grant-7 to Payment Specialist Agent v3.1 for task 12A: payments.* where currency is USD, until
    2030-02-01 12:00:00 UTC

Outside words came in as one bounded line each (`projections/audit/entry.py`), so a sentence cannot be broken into two.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from ledger.grants import Limit, Permission, Range
from ledger.intents import Value
from ledger.money import money
from ledger.phases import TERMINAL, Phase
from ledger.tasks import Criterion, FailureMode, TaskContract
from ledger.undo_plans import Selection
from projections.audit.configuration import ConfigurationTerms
from projections.audit.entry import UNDO_PLAN, Act, AuditRow, Kind, Verification, one_line


class GrantTerms(Value, frozen=True):
    """What the entry of a new grant keeps in `detail`."""

    grant: str
    operations: tuple[Permission, ...]
    limits: tuple[Limit, ...]
    expires_at: datetime | None
    may_delegate: bool


class PlanTerms(Value, frozen=True):
    """What the entries of an undo plan keep in `detail`."""

    plan: str
    selection: Selection
    counts: dict[str, int]


def sentence(entry: AuditRow) -> str:
    """Say an entry in one sentence."""
    return one_line(_SAID[entry.kind](entry))


def person(name: str) -> str:
    """Write the name of a person for people: `manager-x` is Manager X. An address stays as it is."""
    return name if "@" in name else " ".join(word[:1].upper() + word[1:] for word in re.split(r"[-_\s]+", name) if word)


def subject(entry: AuditRow) -> str:
    """Write the name of the agent (or of the person without one) whose intent or grant it is."""
    return agent(entry.agent_kind or "agent", entry.agent or "nobody", entry.agent_version)


def actor_kind(entry: AuditRow) -> str:
    """Tell whether an agent or a person did it: agents issue below themselves, and give up what is theirs."""
    if entry.kind in UNDO_PLAN:
        return "person"  # nobody else plans an undo
    if entry.by is None or (entry.by == entry.agent and entry.kind is not Kind.ISSUE):
        return entry.agent_kind or "agent"
    return "agent" if entry.kind is Kind.ISSUE and entry.by != entry.commissioned_by else "person"


def actor(entry: AuditRow) -> str:
    """Write the name of who did it."""
    return agent(actor_kind(entry), entry.by, None) if entry.by is not None else subject(entry)


def agent(kind: str, name: str, version: str | None) -> str:
    """Write the name of who acts: the agent `payment-specialist` 3.1 is Payment Specialist Agent v3.1."""
    words = person(name)
    if kind == "agent" and not words.lower().endswith("agent"):
        words += " Agent"
    return f"{words} v{version.removeprefix('v')}" if version else words


def _of_intent(entry: AuditRow) -> str:
    who = ", ".join(
        part
        for part in (
            subject(entry),
            entry.task is not None and f"task {entry.task}",
            entry.commissioned_by is not None and f"commissioned by {person(entry.commissioned_by)}",
            entry.follows is not None and f"following {entry.follows}",
            bool(entry.policies)
            and f"under {'policy' if len(entry.policies) == 1 else 'policies'} {_list(entry.policies)}",
        )
        if part
    )
    return f"{who}: {_list(entry.summaries)}, {_outcome(entry)}"


def _outcome(entry: AuditRow) -> str:
    phase = Phase(entry.outcome)
    words = entry.outcome.replace("_", " ")
    reason = _clause(entry.reason) if entry.reason is not None else None
    if entry.attention is not None and phase not in TERMINAL:
        return f"{words}, waiting for a person: {_clause(entry.attention)}"
    if phase is Phase.COMMITTED and entry.verification is not None:
        words += _VERIFIED[entry.verification]
    if entry.escalated_to is not None:
        words += f", escalated to {person(entry.escalated_to)}: {entry.failure_mode}"
        return words if reason is None else f"{words} ({reason})"
    return words if reason is None else f"{words}: {reason}"


_VERIFIED: Final[Mapping[Verification, str]] = {
    Verification.VERIFIED: " and verified",
    Verification.CONTRADICTED: ", but the outside contradicts it",
    Verification.UNKNOWN: ", and whether the task is done is not known",
}


def _of_act(entry: AuditRow) -> str:
    what = _list(entry.summaries) + (f" ({_short(entry.digest)})" if entry.digest is not None else "")
    return f"{actor(entry)} {_did(entry)}: {what}, asked for by {subject(entry)}{_because(entry)}"


def _did(entry: AuditRow) -> str:
    match entry.kind:
        case Kind.UNDO:
            return "decided to undo"
        case Kind.RESOLVE:  # whether the question was about an effect, a release or an undo, the event does not say
            return f"answered “{entry.outcome.replace('_', ' ')}” about"
        case _:
            return entry.outcome


def _of_divergence(entry: AuditRow) -> str:
    what = f"what {subject(entry)} did: {_list(entry.summaries)}"
    if entry.outcome == Act.DIVERGENCE_GONE:
        return f"The outside no longer differs from {what}{_because(entry)}"
    terms = msgspec.json.decode(entry.detail or "{}")
    shown, expected = _terms_of(terms.get("found")), _terms_of(terms.get("expected"))
    return f"The outside differs from {what}, where {entry.operations[0]} shows {shown}, not {expected}"


def _terms_of(fields: Any) -> str:
    return _list([f"{name} {_scalar(value)}" for name, value in (fields or {}).items()])


# ── authority itself ─────────────────────────────────────────────────────────────────────────────────────────────


def _of_grant(entry: AuditRow) -> str:
    who = actor(entry)
    match entry.kind:
        case Kind.ISSUE if entry.by is None:
            return f"The ledger began with {entry.grant_id} for {subject(entry)}: {_terms(entry)}"
        case Kind.ISSUE:
            task = f" for task {entry.task}" if entry.task is not None else ""
            return f"{who} issued {entry.grant_id} to {subject(entry)}{task}: {_terms(entry)}"
        case Kind.RESUME:
            return f"{who} resumed {_grant(entry)}{_because(entry)}"
        case _:
            if entry.by is None:
                who = "The watch over behaviour"
            return f"{who} {entry.outcome} {_grant(entry)} and everything below it{_because(entry)}"


def _of_policy(entry: AuditRow) -> str:
    named = f": {_list(entry.policies)}" if entry.kind is Kind.ADD_POLICY else ""
    did = "added" if entry.kind is Kind.ADD_POLICY else "activated"
    return f"{actor(entry)} {did} policy set {_short(entry.policy_set or '')}{named}"


def _of_task(entry: AuditRow) -> str:
    return f"{actor(entry)} defined task {entry.task}, {_contract(entry)}"


def _of_anomaly(entry: AuditRow) -> str:
    if entry.kind is Kind.ANOMALY:
        return f"Odd{_because(entry)}{_answered(entry)}"
    anomaly = msgspec.json.decode(entry.detail or "{}").get("anomaly", "")
    return f"{actor(entry)} cleared anomaly {anomaly} of {subject(entry)}{_because(entry)}"


def _of_erasure(entry: AuditRow) -> str:
    key = msgspec.json.decode(entry.detail or "{}").get("key")
    return f"{actor(entry)} erased what is personal of the data subject {key}{_because(entry)}"


def _of_refusal(entry: AuditRow) -> str:
    cause = entry.outcome.removeprefix("token_")
    times = msgspec.json.decode(entry.detail or "{}").get("times", 1)
    of = f" of {_grant(entry)}" if entry.grant_id is not None else ""
    return f"{'A' if cause in {'revoked', 'suspended'} else 'An'} {cause} token{of} was shown {_often(times)}"


def _of_refused_act(entry: AuditRow) -> str:
    terms = msgspec.json.decode(entry.detail or "{}")
    what = " ".join(str(terms.get("act", "")).split("_"))
    times = terms.get("times", 1)
    about = "" if terms.get("of") is None else f" ({'first ' if times > 1 else ''}{terms['of']})"
    return f"{subject(entry)} was refused {_often(times)}: {what}{about}"


def _of_configuration(entry: AuditRow) -> str:
    terms = msgspec.json.decode(entry.detail or "{}", type=ConfigurationTerms)
    told = ((terms.added, "added"), (terms.changed, "changed"), (terms.removed, "removed"))
    what = "; ".join([f"{word} {_list(names)}" for names, word in told if names])
    began = "its first configuration" if terms.before is None else "another configuration"
    return f"The service began with {began} ({_short(terms.configuration)}): {what}"


# ── undo plans ───────────────────────────────────────────────────────────────────────────────────────────────────


def _of_undo_plan(entry: AuditRow) -> str:
    terms = msgspec.json.decode(entry.detail or "{}", type=PlanTerms)
    what = f"undo {_selected(terms.selection)}"
    match entry.kind:
        case Kind.PLAN_UNDO:
            count = f"{_list(_counted(terms.counts))} ({_short(entry.digest or '')})"
            return f"{actor(entry)} planned to {what}: {count}{_because(entry)}"
        case Kind.APPROVE_UNDO:
            return f"{actor(entry)} approved to {what} ({_short(entry.digest or '')}){_because(entry)}"
        case Kind.HALT_UNDO:
            halted = f"{actor(entry)} halted the plan to {what}" if entry.by else f"The plan to {what} halted"
            return f"{halted}{_because(entry)}"
        case _:
            return f"The plan to {what} has ended: {_list(_counted(terms.counts))}"


def _selected(selection: Selection) -> str:
    """Say which intents are meant."""
    parts = (
        ("what was done", True),
        (f"by {agent('agent', selection.agent or '', None)}", selection.agent),
        (f"under {selection.grant}", selection.grant),
        (f"for task {selection.task}", selection.task),
        (f"with {selection.operation}", selection.operation),
        (f"since {selection.since:%Y-%m-%d %H:%M:%S} UTC" if selection.since else "", selection.since),
        (f"before {selection.until:%Y-%m-%d %H:%M:%S} UTC" if selection.until else "", selection.until),
    )
    return " ".join([words for words, asked in parts if asked])


_COUNTED: Final[Mapping[str, str]] = {
    "exact": "exactly",
    "semantic": "by a follow-up",
    "partial": "in part",
    "none": "not at all",
    "undone": "undone",
    "mixed": "undone in part",
    "attention": "waiting for a person",
    "moved": "moved by somebody else before",
    "not_undone": "not undone",
}


def _counted(counts: Mapping[str, int]) -> list[str]:
    return [f"{count} {words}" for name, words in _COUNTED.items() if (count := counts.get(name))]


def _grant(entry: AuditRow) -> str:
    return str(msgspec.json.decode(entry.detail or "{}").get("grant", entry.grant_id))


def _terms(entry: AuditRow) -> str:
    """Say what a grant permits, how much of it, and until when."""
    terms = msgspec.json.decode(entry.detail or "{}", type=GrantTerms)
    words = [_list([_permission(one) for one in terms.operations]), *map(_limit, terms.limits)]
    if terms.expires_at is not None:
        words.append(f"until {terms.expires_at:%Y-%m-%d %H:%M:%S} UTC")
    return ", ".join(words)


def _permission(permission: Permission) -> str:
    name = "every operation" if permission.operation == "*" else permission.operation
    if not permission.where:
        return name
    return f"{name} where {_list([_where(*one) for one in permission.where.items()])}"


def _where(name: str, allowed: tuple[Any, ...] | Range) -> str:
    if not isinstance(allowed, Range):
        return f"{name} is {_list([_scalar(one) for one in allowed], 'or')}"
    if allowed.min is not None and allowed.max is not None:
        return f"{name} is from {allowed.min} to {allowed.max}"
    return f"{name} is at least {allowed.min}" if allowed.max is None else f"{name} is at most {allowed.max}"


def _limit(limit: Limit) -> str:
    counted = limit.operation if limit.operation != "*" else "operations"
    much = f"{limit.max} {counted}" if limit.currency is None else f"{money(limit.max, limit.currency)} of {counted}"
    window = "in all" if limit.per == "total" else f"{'an' if limit.per == 'hour' else 'a'} {limit.per}"
    return f"at most {much} {window}" + (" for each agent" if limit.each == "agent" else "")


def _contract(entry: AuditRow) -> str:
    """Say who owns a task, what belongs to it, when it is done, and who is asked when it fails."""
    contract = msgspec.json.decode(entry.detail or "{}", type=TaskContract)
    words = [f"owned by {person(contract.owner)}: {_list(contract.scope)}"]
    if contract.success:
        words.append("done when " + _list([_criterion(one) for one in contract.success]))
    words += [_mode(one) for one in contract.failure_modes]
    return "; ".join(words)


def _criterion(criterion: Criterion) -> str:
    return f"{criterion.verify} shows {_list([f'{name} {_scalar(value)}' for name, value in criterion.expect.items()])}"


def _mode(mode: FailureMode) -> str:
    return f"{mode.name} goes to {person(mode.escalate_to)}"


# ── words ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _answered(entry: AuditRow) -> str:
    """Say what was done about an anomaly."""
    known = msgspec.json.decode(entry.detail or "{}")
    if known.get("suspended"):
        return f"; suspended {_list(known['suspended'])}"
    return "; what it does next is asked of people" if known.get("response") == "escalate" else ""


def _because(entry: AuditRow) -> str:
    return f": {_clause(entry.reason)}" if entry.reason else ""


def _list(words: Sequence[str], last: str = "and") -> str:
    """Join words as people do; "nothing" for none."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}" if words else "nothing"


def _scalar(value: object) -> str:
    return value if isinstance(value, str) and value else msgspec.json.encode(value).decode()


def _often(times: int) -> str:
    return "once" if times == 1 else f"{times} times"


def _short(digest: str) -> str:
    """Write so much of a digest as tells it from others at a glance."""
    return digest[: len("sha256:") + 12]


def _clause(text: str) -> str:
    return text.rstrip(". ")


_SAID: Final[Mapping[Kind, Callable[[AuditRow], str]]] = {
    Kind.INTENT: _of_intent,
    **dict.fromkeys((Kind.APPROVE, Kind.REJECT, Kind.CANCEL, Kind.UNDO, Kind.RESOLVE), _of_act),
    **dict.fromkeys((Kind.ISSUE, Kind.REVOKE, Kind.SUSPEND, Kind.RESUME), _of_grant),
    **dict.fromkeys((Kind.ADD_POLICY, Kind.ACTIVATE_POLICY), _of_policy),
    Kind.DEFINE_TASK: _of_task,
    Kind.REFUSE_TOKEN: _of_refusal,
    Kind.REFUSE: _of_refused_act,
    **dict.fromkeys(UNDO_PLAN, _of_undo_plan),
    **dict.fromkeys((Kind.ANOMALY, Kind.CLEAR_ANOMALY), _of_anomaly),
    Kind.RECONCILE: _of_divergence,
    Kind.ERASE: _of_erasure,
    Kind.CONFIGURE: _of_configuration,
}
