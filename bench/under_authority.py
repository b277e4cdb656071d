"""What the service is put under where authority is measured: a chain of grants, limits, and a policy set.

The operator (a person) issues a grant to a person, who issues one to an agent: each with constraints on parameters, the
last with two limits that leave room. The policy set has 50 policies for a department of eleven roles, in the manner of
examples/support/support.cedar: for each role what it may do by itself, what people may let it do, and its remit,
beyond which it is forbidden everything; then rules for everybody. Of the 50, about a third may be about the operation
that is asked about, which is what counts (`authority/rules.py`).
"""

import json
from typing import Any
from urllib.request import Request, urlopen

CURRENCY = "USD"
ROOM = 10**12

_ROLES = {  # what each may do by itself, and up to which amount it posts payments
    "tier-1": (("crm", "tickets"), 0),
    "tier-2": (("crm", "tickets", "diagnostics"), 500),
    "payment-specialist": (("crm", "mailbox", "payments"), 5_000),
    "account-manager": (("crm", "mailbox", "billing", "payments"), 50_000),
    "technical-support": (("diagnostics", "tickets"), 0),
    "retention": (("crm", "mailbox", "billing"), 0),
    "fraud-desk": (("payments", "crm"), 1_000),
    "back-office": (("orders", "billing"), 0),
    "night-shift": (("crm", "tickets", "diagnostics"), 0),
    "supervisor": (("crm", "tickets", "payments"), 20_000),
    "quality": (("tickets", "mailbox"), 0),
}
ADAPTERS = ("payments", "crm", "mailbox", "tickets", "diagnostics", "billing", "orders")
"""The adapters of the services that are measured; of each, `<adapter>.post`."""


def policies() -> str:
    """Return the text of the policy set."""
    return "\n\n".join(_policies())


def _policies() -> list[str]:
    found = []
    for role, (adapters, amount) in _ROLES.items():
        who = f'when {{ principal.role == "{role}" }}'
        for adapter in adapters:
            if adapter != "payments":
                found.append(_permit(f"{role}-{adapter}", f'== Action::"{adapter}.post"', adapter, who))
                continue
            small = f'when {{ context.currency == "{CURRENCY}" && context.amount <= {amount} }}'
            sure = 'when { context.confidence.greaterThan(decimal("0.5")) }'
            account = 'when { context.params.account like "customer-*" }'
            asked = f'@approvers("finance, team-lead")\n{_permit(f"{role}-person", _APPROVED, adapter, who)}'
            found += [
                _permit(f"{role}-{adapter}", '== Action::"payments.post"', adapter, who, small, sure, account),
                asked,
            ]
        remit = ", ".join(f'Action::"{adapter}.post"' for adapter in adapters)
        found.append(
            f'@id("{role}-remit")\n@description("{role} does what is in its remit only.")\n'
            f"forbid (principal is Agent, action, resource)\n{who}\nunless {{ action in [{remit}] }};"
        )
    return [*found, _FOR_EVERYBODY]


_APPROVED = '== Action::"payments.post#with_approval"'


def _permit(name: str, action: str, adapter: str, *conditions: str) -> str:
    lines = "\n".join(conditions)
    return f'@id("{name}")\npermit (principal is Agent, action {action}, resource == System::"{adapter}")\n{lines};'


_FOR_EVERYBODY = """\
@id("sure-enough")
forbid (principal is Agent, action in Action::"payments.*", resource)
when { context.confidence.lessThan(decimal("0.8")) && !context.approved };

@id("one-currency")
forbid (principal, action in Action::"payments.*", resource)
when { context.currency != "USD" };

@id("never-so-much")
forbid (principal, action in Action::"payments.*", resource)
when { context.amount > 10000000 };

@id("no-test-accounts")
forbid (principal, action in Action::"payments.*", resource)
when { context.params.account like "test-*" };

@id("not-before-the-launch")
forbid (principal, action in Action::"payments.*", resource)
when { context.time < datetime("2020-01-01") };

@id("department-only")
forbid (principal is Agent, action, resource)
unless { principal has role && principal.role != "" };
"""


def put_under_authority(url: str, token: str) -> str:
    """Activate the policy set and issue the grants; return the agent's token."""
    _post(url, token, "/v1/policies", {"cedar": policies(), "activate": True})
    payments = _payments(100_000)
    notes = {"operation": "crm.*", "where": {"amount": [1]}}
    person = {"kind": "person", "name": "manager-x", "role": "team-lead"}
    manager = _post(
        url, token, "/v1/grants", {"subject": person, "operations": [payments, notes], "may_delegate": True}
    )
    order = {
        "subject": {"kind": "agent", "name": "payment-specialist", "version": "3.1", "role": "payment-specialist"},
        "operations": [_payments(5_000), notes],
        "limits": [
            {"operation": "*", "measure": "count", "per": "day", "max": ROOM},
            {"operation": "payments.*", "measure": "amount", "currency": CURRENCY, "per": "day", "max": ROOM},
        ],
        "expires_in": 86_400,
    }
    agent: str = _post(url, manager["token"], "/v1/grants", order)["token"]
    return agent


def _payments(most: int) -> Any:
    return {"operation": "payments.post", "where": {"amount": {"min": 1, "max": most}, "currency": [CURRENCY]}}


def _post(url: str, token: str, path: str, body: Any) -> Any:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = Request(url + path, json.dumps(body).encode(), headers)
    with urlopen(request, timeout=30) as answer:
        return json.load(answer)
