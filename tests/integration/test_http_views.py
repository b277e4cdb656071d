"""What is told about many intents and about the service itself: lists, audit, catalogue, exposure, health, metrics."""

from doorway import TOKEN, intent

from projections.catalogue import PROJECTIONS


async def committed(door, *actions, **more):
    status, body, _ = await door.submit(intent(*actions, **more))
    assert (status, body["phase"]) == (200, "committed")
    return body


async def test_intents_are_listed_newest_first_page_by_page(door):
    made = [await committed(door, ("bank.post", "88", 1), task=f"t{n}") for n in range(5)]
    _, _, _ = await door.get(f"/v1/intents?min_position={made[-1]['position']}")
    found, cursor = [], ""
    while cursor is not None:
        _, page, _ = await door.get(f"/v1/intents?limit=2{cursor and '&after=' + cursor}")
        assert len(page["items"]) <= 2
        found += page["items"]
        cursor = page["next"]
    assert [item["id"] for item in found] == [one["id"] for one in reversed(made)]
    assert found[0] == made[-1]
    _, filtered, _ = await door.get("/v1/intents?task=t3&phase=committed&operation=bank.post&agent=operator")
    assert [item["id"] for item in filtered["items"]] == [made[3]["id"]]
    _, none, _ = await door.get("/v1/intents?phase=aborted")
    assert none == {"items": [], "next": None}


async def test_the_audit_says_who_did_what_as_json_lines_and_csv(door):
    body = await committed(door, ("bank.post", "88", 4200))
    _, page, _ = await door.get(f"/v1/audit?min_position={body['position']}")
    entry, began = page["items"]
    assert entry["sentence"].endswith("committed")
    assert began["sentence"] == "The ledger began with grant-operator for Operator: every operation"
    assert (began["intent"], began["kind"], began["custody"]) == (None, "issue", ["grant-operator"])
    assert (entry["intent"], entry["outcome"]) == (body["id"], "committed")
    for accept, first in (("application/x-ndjson", b'{"position"'), ("text/csv", b"position,at,kind,sentence")):
        async with door.session.get(
            f"{door.url}/v1/audit", headers={"Authorization": f"Bearer {TOKEN}", "Accept": accept}
        ) as response:
            assert response.content_type == accept
            assert (await response.read()).startswith(first)


async def test_the_catalogue_tells_what_each_operation_promises(door):
    _, body, _ = await door.get("/v1/operations")
    promised = {one["operation"]: (one["guarantee"], one["undo"], one["facts"]) for one in body["items"]}
    assert promised == {"bank.post": ("atomic", "exact", ["balance"]), "mail.post": ("blind", "exact", ["balance"])}
    assert body["items"][0]["params"]["type"] == "object"


async def test_what_is_in_doubt_is_exposed(door):
    door.mail.loses_answers = True
    _, body, _ = await door.submit(intent(("mail.post", "box", 1)))
    _, exposure, _ = await door.get(f"/v1/exposure?min_position={body['position']}")
    (group,) = exposure["groups"]
    assert (group["adapter"], group["held"], group["promised"], group["in_doubt"]) == ("mail", 0, 0, 1)
    assert [(one["intent"], one["exposure"]) for one in exposure["actions"]] == [(body["id"], "in_doubt")]


async def test_views_say_how_far_they_are_and_prove_it_with_a_digest(door):
    body = await committed(door, ("bank.post", "88", 1))
    await door.get(f"/v1/intents?min_position={body['position']}")
    _, views, _ = await door.get("/v1/projections")
    assert [view["name"] for view in views["items"]] == [projection.name for projection in PROJECTIONS]
    for view in views["items"]:
        assert view["position"] + view["lag"] == await door.head()
        assert view["digest"].startswith("sha256:")
        assert view["failure"] is None


# ── the service itself ───────────────────────────────────────────────────────────────────────────────────────────


async def test_health_readiness_and_metrics_need_no_token(door):
    await committed(door, ("bank.post", "88", 1))
    for path in ("/healthz", "/readyz"):
        async with door.session.get(door.url + path) as response:
            ready = await response.json()
            assert (response.status, ready["ready"], ready["reasons"]) == (200, True, [])
            assert all(lag >= 0 for lag in ready["lag"].values())
    async with door.session.get(f"{door.url}/metrics") as response:
        text = await response.text()
    assert 'intentledger_requests_total{route="submit_intent",status="200"} 1.0' in text
    assert "intentledger_intents_in_flight 0.0" in text


async def test_labels_of_metrics_do_not_grow_with_what_is_asked(door):
    for n in range(20):
        await door.get(f"/v1/nothing/{n}")
        await door.get(f"/v1/intents/{n}")
    async with door.session.get(f"{door.url}/metrics") as response:
        lines = [
            line for line in (await response.text()).splitlines() if line.startswith("intentledger_requests_total")
        ]
    assert len(lines) == 2


async def test_every_answer_carries_its_request_id_and_the_security_headers(door):
    seen = set()
    for path in ("/healthz", "/v1/intents", "/nowhere"):
        _, _, response = await door.get(path)
        seen.add(response.headers["X-Request-Id"])
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Server"] == "intentledger"
    assert len(seen) == 3
