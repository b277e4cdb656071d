"""That every way into the service is weighed: the audit tells what is done there, or it is said why it does not."""

import pytest

from gateway.cli import app
from gateway.routes import ROUTES
from projections.audit.entry import Kind

READS = "looks, and changes nothing; who looked is in no entry (docs/audit.md)"
FILES = "changes files that the service does not hold: whoever can write them did it (docs/audit.md)"
VIEWS = "changes what can be thrown away and proved again; no event, so no entry"
ASKS = "asks the service by HTTP, where it is told"

WAYS: dict[str, set[Kind] | str] = {
    "submit_intent": {Kind.INTENT},
    "approve_intent": {Kind.APPROVE},
    "reject_intent": {Kind.REJECT},
    "cancel_intent": {Kind.CANCEL},
    "undo_intent": {Kind.UNDO},
    "resolve_intent": {Kind.RESOLVE},
    "add_intent_note": "changes and decides nothing; notes are in the timeline",
    "issue_grant": {Kind.ISSUE},
    "exchange_token": {Kind.ISSUE},
    "revoke_grant": {Kind.REVOKE},
    "revoke_token": {Kind.REVOKE},
    "suspend_grant": {Kind.SUSPEND},
    "resume_grant": {Kind.RESUME},
    "add_policy_set": {Kind.ADD_POLICY, Kind.ACTIVATE_POLICY},
    "activate_policy_set": {Kind.ACTIVATE_POLICY},
    "rehearse_policy_set": READS,
    "define_task": {Kind.DEFINE_TASK},
    "erase_subject": {Kind.ERASE},
    "plan_undo": {Kind.PLAN_UNDO},
    "approve_undo_plan": {Kind.APPROVE_UNDO, Kind.FINISH_UNDO},
    "halt_undo_plan": {Kind.HALT_UNDO},
    "clear_anomaly": {Kind.CLEAR_ANOMALY},
    "introspect_token": READS,
}
COMMANDS: dict[str, set[Kind] | str] = {
    **dict.fromkeys(("grant", "revoke", "suspend", "resume", "approve", "reject", "undo", "subjects erase"), ASKS),
    **dict.fromkeys(("grants", "policy add", "policy activate", "policy list", "policy test"), ASKS),
    "serve": {Kind.CONFIGURE, Kind.ISSUE, Kind.ANOMALY, Kind.REFUSE, Kind.REFUSE_TOKEN, Kind.SUSPEND},
    "work": {Kind.CONFIGURE},
    "init": {Kind.ISSUE},
    "migrate": "changes tables and no event; the log says what was recorded before and after",
    "reconcile": {Kind.RECONCILE},
    "import": "brings the events, and with them the entries, of another ledger; it needs a database without any",
    "export": READS,
    "audit export": READS,
    "verify": READS,
    "receipt verify": READS,
    "replay": VIEWS,
    "adapters": READS,
    "adapters tools": READS,
    "adapters verify": "tries an outside system beside the ledger, as its operator; no agent's intent (docs/audit.md)",
    **dict.fromkeys(("log keys", "log checkpoint"), READS),
    **dict.fromkeys(("log rotate", "log retire", "log end", "subjects rotate", "subjects retire"), FILES),
    "witness": "is another party, with a directory of its own",
    "bench": "a ledger of its own",
    "demo": "a ledger of its own",
}


def commands(of=app, *before):
    for name in of:
        if not name.startswith("-"):
            below = list(commands(of[name], *before, name))
            yield from below or [" ".join((*before, name))]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_whatever_a_request_can_change_is_told(route):
    assert route.method == "GET" or route.name in WAYS, "name the entry that tells of it, or say why none does"


def test_every_command_is_told_or_it_is_said_why_not():
    found = set(commands())
    groups = {"adapters"}  # which is also a command
    assert found | groups == COMMANDS.keys() | groups


def test_every_kind_of_entry_has_a_way_that_leads_to_it():
    led = {kind for way in (*WAYS.values(), *COMMANDS.values()) if not isinstance(way, str) for kind in way}
    assert led == set(Kind)
    assert WAYS.keys() <= {route.name for route in ROUTES}
