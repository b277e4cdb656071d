"""The examples in the documents are read and run, so that none of them can be wrong for long."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from adapters.configuration import load
from adapters.contract import Absent, Applied, Call, Prepared, Refused
from adapters.registry import Registry
from ledger.errors import InDoubt, Transient
from ledger.intents import Verb

DOCS = Path(__file__).parents[2] / "docs"
ENVIRONMENT = {
    "CRM_DSN": "postgresql://ledger@crm.example.com/crm",
    "SHOP_DSN": "mysql://ledger@shop.example.com/shop",
    "PAYMENTS_AUTHORIZATION": "Bearer of-the-operator",
    "STRIPE_API_KEY": "of-the-operator",
    "SMTP_PASSWORD": "of-the-operator",
}


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (DOCS / document).read_text("utf-8"), re.MULTILINE | re.DOTALL)


def test_every_configuration_in_the_documents_is_read(tmp_path: Path) -> None:
    operations: set[str] = set()
    for block in blocks("adapters.md", "toml"):
        path = tmp_path / "intentledger.toml"
        path.write_text(block)
        operations |= load(path, ENVIRONMENT).operations.keys()
    acting = {"crm.update", "payments.refund", "payments.credit", "email.send", "stock.post"}
    reading = {"crm.customer", "payments.charge"}
    acting |= {"stripe.pay", "stripe.refund", "stripe.cancel_subscription"}
    reading |= {"stripe.customer", "stripe.payment", "stripe.subscription"}
    acting |= {"shop.ship"}
    reading |= {"shop.order"}
    assert operations == acting | reading


class Notes:
    """The outside system of the guide."""

    def __init__(self) -> None:
        self.notes: dict[str, str] = {}
        self.done: dict[str, dict[str, str]] = {}
        self.reachable = True
        self.losing = False

    async def connect(self) -> "Notes":
        if not self.reachable:
            raise ConnectionRefusedError
        return self

    async def find(self, key: str) -> dict[str, str] | None:
        return self.done.get(key)

    async def request(self, key: str, what: str, value: str) -> dict[str, str]:
        if key not in self.done:
            self.done[key] = {"id": key if what == "add" else value}
            if what == "add":
                self.notes[key] = value
            else:
                del self.notes[value]
        if self.losing:
            raise ConnectionResetError
        return self.done[key]


def call(verb: Verb, key: str, text: str = "call Ada") -> Call:
    return Call(
        verb=verb,
        ledger="main",
        intent="intent",
        action="note",
        operation="notes.add",
        params={"text": text},
        key=key,
        epoch=1,
        deadline=datetime(2026, 1, 1, tzinfo=UTC),
    )


@pytest.fixture
def guide() -> tuple[Any, Notes]:
    space: dict[str, Any] = {}
    (code,) = blocks("writing-an-adapter.md", "python")
    exec(code, space)  # it is our own document
    system = Notes()
    adapter = space["NotesAdapter"]("notes", system)
    Registry([adapter])
    return adapter, system


async def test_the_adapter_of_the_guide_acts_once_and_undoes_exactly(guide: tuple[Any, Notes]) -> None:
    adapter, system = guide
    assert isinstance(await adapter.prepare(call(Verb.PREPARE, "k")), Prepared)
    assert system.notes == {}
    assert await adapter.inquire(call(Verb.COMMIT, "k")) == Absent()
    first = await adapter.commit(call(Verb.COMMIT, "k"), None)
    assert await adapter.commit(call(Verb.COMMIT, "k"), None) == first
    assert list(system.notes.values()) == ["call Ada"]
    for _ in range(2):
        await adapter.compensate(call(Verb.COMPENSATE, "u"), None, first.data)
    assert system.notes == {}


async def test_the_adapter_of_the_guide_says_what_it_knows(guide: tuple[Any, Notes]) -> None:
    adapter, system = guide
    assert isinstance(await adapter.prepare(call(Verb.PREPARE, "k", " ")), Refused)
    system.reachable = False
    with pytest.raises(Transient):
        await adapter.commit(call(Verb.COMMIT, "k"), None)
    system.reachable, system.losing = True, True
    with pytest.raises(InDoubt):
        await adapter.commit(call(Verb.COMMIT, "k"), None)
    assert isinstance(await adapter.inquire(call(Verb.COMMIT, "k")), Applied)
