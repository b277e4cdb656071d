"""A key that is known is answered by its intent, even where a new intent would be refused."""

import pytest
from doorway import intent

from adapters.registry import Registry

ONE = intent(("bank.post", "88", 1))
ANOTHER = intent(("bank.post", "88", 2))


def change_the_catalogue(door, monkeypatch):
    """As if the service had been started again without the bank."""
    monkeypatch.setattr(door.service.coordinator._submissions, "_registry", Registry([door.mail]))


def fill(_door, monkeypatch):
    monkeypatch.setattr("ledger.bounds.INTENTS_IN_FLIGHT", 0)


REFUSALS = pytest.mark.parametrize(
    ("trouble", "status"), [(change_the_catalogue, 422), (fill, 503)], ids=["other catalogue", "full"]
)


@REFUSALS
async def test_a_replay_is_answered_where_a_new_intent_would_be_refused(door, monkeypatch, trouble, status):
    _, first, _ = await door.submit(ONE, key="k-1")
    trouble(door, monkeypatch)
    again, body, response = await door.submit(ONE, key="k-1")
    assert (again, body["id"], body["phase"]) == (200, first["id"], "committed")
    assert response.headers["Idempotency-Hit"] == "true"
    head = await door.head()
    refused, problem, _ = await door.submit(ONE, key="k-2")
    assert refused == status
    assert "Nothing was recorded" in problem["detail"]
    assert await door.head() == head


@REFUSALS
async def test_another_body_under_a_known_key_is_named_a_reuse(door, monkeypatch, trouble, status):
    _, first, _ = await door.submit(ONE, key="k-1")
    trouble(door, monkeypatch)
    refused, problem, _ = await door.submit(ANOTHER, key="k-1")
    assert (refused, problem["type"]) == (422, "urn:intent-ledger:problem:idempotency-key-reused")
    assert problem["intent"] == first["id"]
