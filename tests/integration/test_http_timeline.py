"""The runtime view over HTTP: one intent in time, notes, two runs side by side, runs by their paths."""

from doorway import eventually, intent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"


async def submitted(door, *actions, traceparent=None, **more):
    headers = {"Idempotency-Key": f"k-{await door.head()}", "Prefer": "wait=10"}
    if traceparent is not None:
        headers["traceparent"] = traceparent
    status, body, _ = await door.post("/v1/intents", intent(*actions, **more), **headers)
    assert status in (200, 202), body
    return body


async def test_a_timeline_shows_an_intent_from_submission_to_its_last_effect_under_the_agents_span(door):
    one = await submitted(door, ("bank.post", "88", 1), traceparent=TRACEPARENT)
    status, shown, _ = await door.get(f"/v1/intents/{one['id']}/timeline")
    assert status == 200
    assert (shown["trace"], shown["parent"], shown["run"]) == (TRACE, SPAN, TRACE)
    root, *others = shown["spans"]
    assert (root["kind"], root["outcome"], root["started_at"]) == ("intent", "committed", one["submitted_at"])
    assert {"policy", "action", "call", "hold"} <= {span["kind"] for span in others}
    calls = [(span["verb"], span["outcome"], span["attempt"]) for span in others if span["kind"] == "call"]
    assert calls == [("preview", "shown", 1), ("prepare", "prepared", 1), ("commit", "done", 1)]
    assert all(span["ended_at"] <= shown["ended_at"] and span["seconds"] >= 0 for span in shown["spans"])
    assert shown["path"][0] == "submit bank.post"
    assert shown["path"][-1] == "end committed"


async def test_a_call_that_must_wait_for_a_person_is_an_open_span(door):
    door.mail.loses_answers = True
    one = await submitted(door, ("mail.post", "box", 1))
    _, shown, _ = await door.get(f"/v1/intents/{one['id']}/timeline")
    (attention,) = [span for span in shown["spans"] if span["kind"] == "attention"]
    assert (attention["ended_at"], attention["outcome"], attention["action"]) == (None, None, "a1")
    assert shown["ended_at"] is None
    body = {"action": "a1", "outcome": "applied", "note": "It is in the box."}
    await door.post(f"/v1/intents/{one['id']}/resolve", body)

    async def ended():
        _, shown, _ = await door.get(f"/v1/intents/{one['id']}/timeline")
        return shown["ended_at"] and shown

    shown = await eventually(ended)
    (attention,) = [span for span in shown["spans"] if span["kind"] == "attention"]
    assert attention["outcome"] == "applied"
    assert [(m["name"], m["by"], m["detail"]) for m in attention["moments"]] == [
        ("applied", "operator", "It is in the box.")
    ]


async def test_a_note_is_kept_beside_an_intent_in_any_phase_and_changes_nothing(door):
    agent = await door.grant("payer", "bank.*")
    one = await submitted(agent, ("bank.post", "88", 1))
    path = f"/v1/intents/{one['id']}/notes"
    said = {"text": "The balance was enough.", "data": {"balance": 7}}
    status, note, _ = await agent.post(path, said, **{"traceparent": TRACEPARENT, "Idempotency-Key": "n1"})
    assert (status, note["by"], note["kind"], note["trace"], note["span"]) == (201, "payer", "agent", TRACE, SPAN)
    status, again, _ = await agent.post(path, said, **{"Idempotency-Key": "n1"})
    assert (status, again) == (201, note)
    status, problem, _ = await agent.post(path, {"text": "Other."}, **{"Idempotency-Key": "n1"})
    assert (status, problem["type"]) == (422, "urn:intent-ledger:problem:idempotency-key-reused")
    await door.post(path, {"text": "Seen."})
    _, shown, _ = await agent.get(f"/v1/intents/{one['id']}/timeline")
    assert [(n["by"], n["text"], n["data"]) for n in shown["notes"]] == [
        ("payer", said["text"], said["data"]),
        ("operator", "Seen.", {}),
    ]
    _, after, _ = await door.get(f"/v1/intents/{one['id']}")
    assert after == one


async def test_a_note_never_disturbs_the_run_of_its_intent(door):
    door.bank.gate.clear()
    _, one, _ = await door.submit(intent(("bank.post", "88", 1)), wait=None)

    async def asked():
        return door.bank.asked

    await eventually(asked)
    status, _, _ = await door.post(f"/v1/intents/{one['id']}/notes", {"text": "While its vote is on the way."})
    assert status == 201
    door.bank.gate.set()

    async def ended():
        _, body, _ = await door.get(f"/v1/intents/{one['id']}")
        return body["phase"] == "committed"

    await eventually(ended)
    assert door.bank.asked == 1, "the run was lost, and its call made again"


async def test_a_note_is_refused_where_it_is_nonsense_or_the_intent_is_not_yours(door):
    one = await submitted(door, ("bank.post", "88", 1))
    stranger = await door.grant("stranger", "bank.*")
    for holder, path, body, expected in (
        (stranger, f"/v1/intents/{one['id']}/notes", {"text": "Hello."}, (404, None)),
        (door, "/v1/intents/00000000-0000-7000-8000-000000000000/notes", {"text": "Hello."}, (404, None)),
        (door, f"/v1/intents/{one['id']}/notes", {"text": ""}, (422, "/text")),
        (door, f"/v1/intents/{one['id']}/notes", {"text": "x", "data": {"a": "b" * 17_000}}, (422, "/data")),
        (door, f"/v1/intents/{one['id']}/notes", {"text": "x", "more": 1}, (422, "/more")),
    ):
        status, problem, _ = await holder.post(path, body)
        assert (status, problem.get("errors", [{"path": None}])[0]["path"]) == expected
    status, _, _ = await stranger.get(f"/v1/intents/{one['id']}/timeline")
    assert status == 404
    status, _, _ = await stranger.get(f"/v1/timeline/compare?left={one['id']}&right={one['id']}")
    assert status == 404


async def test_two_runs_of_a_task_stand_side_by_side_and_show_where_they_part(door):
    yesterday = await submitted(door, ("bank.post", "88", 5))
    today = await submitted(door, ("bank.post", "88", -2_000_000))
    assert (yesterday["phase"], today["phase"]) == ("committed", "aborted")
    status, shown, _ = await door.get(f"/v1/timeline/compare?left={yesterday['id']}&right={today['id']}")
    assert status == 200
    assert (shown["same_task"], shown["same_path"]) == (True, False)
    parting = shown["parts_at"]
    assert (parting["left"], parting["right"]) == ("prepare bank.post prepared", "prepare bank.post refused")
    assert "prepare bank.post refused" in parting["sentence"]
    assert shown["steps"][parting["place"]]["same"] is False
    assert all(pair["same"] for pair in shown["steps"][: parting["place"]])
    assert {"path": "/0/actions/a1/params/amount", "left": 5, "right": -2_000_000} in shown["differences"]


async def test_a_run_is_everything_submitted_under_one_trace_about_one_task(door):
    other = TRACEPARENT.replace(TRACE, "a" * 32)
    runs = [
        [await submitted(door, ("bank.post", "88", amount), traceparent=trace) for amount in amounts]
        for trace, amounts in ((TRACEPARENT, (1, 2)), (other, (3,)))
    ]
    aside = await submitted(door, ("bank.post", "88", 9), traceparent=TRACEPARENT, task="aside")
    seen = f"&min_position={aside['position']}"
    left, right = runs[0][1]["id"], runs[1][0]["id"]
    _, shown, _ = await door.get(f"/v1/timeline/compare?left={left}&right={right}{seen}")
    assert shown["left"]["intents"] == [one["id"] for one in runs[0]]
    assert shown["parts_at"]["left"] == "submit bank.post"
    assert shown["parts_at"]["right"] is None
    _, inside, _ = await door.get(f"/v1/timeline/compare?left={runs[0][0]['id']}&right={left}{seen}")
    assert (inside["left"]["intents"], inside["same_path"]) == ([runs[0][0]["id"]], True)


async def test_runs_are_grouped_by_task_and_path(door):
    for amount in (1, 2, 3, -2_000_000):
        last = await submitted(door, ("bank.post", "88", amount))
    last = await submitted(door, ("bank.post", "88", 1), task="other")
    _, page, _ = await door.get(f"/v1/timeline/paths?task=12A&min_position={last['position']}")
    assert [(group["runs"], group["path"][-1]) for group in page["items"]] == [(3, "end committed"), (1, "end aborted")]
    assert len(page["items"][0]["examples"]) == 3
    assert page["items"][0]["seconds_median"] <= page["items"][0]["seconds_max"]
    assert (page["intents"], page["next"]) == (4, None)
    _, everything, _ = await door.get("/v1/timeline/paths")
    assert sum(group["runs"] for group in everything["items"]) == 5
    _, first, _ = await door.get("/v1/timeline/paths?limit=1")
    assert first["items"] == everything["items"][:1]
    _, late, _ = await door.get("/v1/timeline/paths?since=2200-01-01T00:00:00Z")
    assert late["items"] == []
    stranger = await door.grant("stranger", "bank.*")
    _, theirs, _ = await stranger.get("/v1/timeline/paths")
    assert theirs["items"] == []


async def test_a_question_that_makes_no_sense_is_refused_by_name(door):
    for address, place in (
        ("/v1/timeline/compare", "/left"),
        ("/v1/timeline/compare?left=x&right=x", "/left"),
        ("/v1/timeline/compare?left=00000000-0000-7000-8000-000000000000", "/right"),
        ("/v1/timeline/paths?since=yesterday", "/since"),
        ("/v1/timeline/paths?since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z", "/until"),
        ("/v1/timeline/paths?after=last", "/after"),
        ("/v1/timeline/paths?colour=red", "/colour"),
    ):
        status, problem, _ = await door.get(address)
        assert (status, problem["errors"][0]["path"]) == (422, place)
