"""The configuration of the support department: read as an operator would, and what its operations promise."""

from pathlib import Path
from string import Template

from adapters.configuration import load
from adapters.registry import Registry

FILE = Path(__file__).parents[2] / "examples" / "support" / "intentledger.toml"
PORTS = {"PAYMENTS_PORT": 1, "BILLING_PORT": 2, "MAILBOX_PORT": 3, "MAILBOX_HTTP_PORT": 4}


def department(tmp_path: Path) -> Registry:
    path = tmp_path / "intentledger.toml"
    path.write_text(Template(FILE.read_text("utf-8")).substitute(PORTS))
    return load(path, {"CRM_DSN": "postgresql://crm@127.0.0.1/crm"})


def test_the_department_looks_and_acts(tmp_path: Path) -> None:
    operations = department(tmp_path).operations
    assert {name for name, one in operations.items() if one.reads} == {
        "payments.charge",
        "billing.subscription",
        "crm.read",
        "diagnostics.connection",
        "mailbox.find",
    }
    assert {name for name, one in operations.items() if not one.reads} == {
        "payments.refund",
        "billing.cancel_subscription",
        "crm.route",
        "diagnostics.restart",
        "email.send",
    }


def test_every_fact_has_a_type_that_policy_can_compare(tmp_path: Path) -> None:
    for operation in department(tmp_path).operations.values():
        assert set(operation.facts) == set(operation.fact_types), operation.name


def test_only_a_refund_moves_money(tmp_path: Path) -> None:
    registry = department(tmp_path)
    assert {name: one.money for name, one in registry.operations.items() if one.money} == {"payments.refund": "amount"}
    params = {"charge": "ch_88", "amount": 4200, "currency": "USD"}
    assert registry.money("payments.refund", params) == (4200, "USD")
    assert registry.summary("payments.refund", params) == "refund 42.00 USD of charge ch_88"
