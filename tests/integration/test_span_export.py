"""Spans as a collector receives them: real OTLP, decoded from its protobuf."""

import pytest
from doorway import eventually, intent
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from otlp_collector import collecting, values

from gateway.collector import collector as collector_at
from gateway.span_exporter import NotNow, SpanExporter
from ledger.traces import span_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.fixture
async def collector():
    async with collecting() as listening:
        yield listening


def exporter_of(door, collector, holder="here"):
    target = collector_at(collector.url, "authorization: Bearer let-me-in\nx-tenant: 7")
    return SpanExporter(door.service.pool, door.service.store, target, holder)


async def submit(door, *actions, traceparent=TRACEPARENT, **more):
    headers = {"Idempotency-Key": f"k-{await door.head()}", "Prefer": "wait=10"}
    if traceparent is not None:
        headers["traceparent"] = traceparent
    _, body, _ = await door.post("/v1/intents", intent(*actions, **more), **headers)
    return body


async def until_exported(door, exporter):
    """Export by hand, up to the ledger's head."""
    while await exporter.advance():
        pass


@pytest.fixture
async def exporter(door, collector):
    made = exporter_of(door, collector)
    await made.advance()  # from now on
    yield made
    await made.stop()


async def test_an_intent_is_a_span_under_the_agents_and_each_action_is_a_tool_that_was_executed(
    door, collector, exporter
):
    agent = await door.grant("payer", "bank.*", kind="agent")
    one = await submit(agent, ("bank.post", "of-dana", 1), reason="Dana asked.")
    await agent.post(f"/v1/intents/{one['id']}/notes", {"text": "Dana will be glad."})
    await until_exported(door, exporter)
    (root,) = collector.named("intent")
    assert (root.trace_id.hex(), root.parent_span_id.hex()) == (TRACE, SPAN)
    assert root.span_id.hex() == span_of(one["id"])
    assert root.kind == root.SPAN_KIND_SERVER
    (tool,) = collector.named("execute_tool bank.post")
    assert (tool.trace_id, tool.parent_span_id) == (root.trace_id, root.span_id)
    assert root.start_time_unix_nano <= tool.start_time_unix_nano <= tool.end_time_unix_nano <= root.end_time_unix_nano
    shown = values(tool.attributes)
    assert shown[gen_ai.GEN_AI_OPERATION_NAME] == gen_ai.GenAiOperationNameValues.EXECUTE_TOOL.value
    assert shown[gen_ai.GEN_AI_TOOL_NAME] == "bank.post"
    assert shown[gen_ai.GEN_AI_AGENT_NAME] == "payer"
    assert shown[gen_ai.GEN_AI_CONVERSATION_ID] == TRACE
    known = {value for name, value in vars(gen_ai).items() if name.startswith("GEN_AI_")}
    assert {name for name in shown if name.startswith("gen_ai.")} <= known
    events = [(event.name, values(event.attributes).get("intentledger.verb")) for event in tool.events]
    assert [verb for name, verb in events if name == "intentledger.call"] == ["preview", "prepare", "commit"]
    assert collector.resources[0]["service.name"] == "intentledger"
    assert collector.headers[0]["x-tenant"] == "7"
    assert "dana" not in str(collector.spans).lower(), "a parameter or somebody's free text was exported"


async def test_an_action_that_was_refused_is_an_error_and_an_intent_without_a_trace_is_one(door, collector, exporter):
    one = await submit(door, ("bank.post", "88", -2_000_000), traceparent=None)
    await until_exported(door, exporter)
    (root,) = collector.named("intent")
    assert root.trace_id.hex() == one["id"].replace("-", "")
    assert not root.parent_span_id
    (tool,) = collector.named("execute_tool bank.post")
    assert tool.status.code == tool.status.STATUS_CODE_ERROR
    assert values(tool.attributes)["error.type"] == "refused"


async def test_the_way_back_is_told_once_more_and_nothing_twice(door, collector, exporter):
    one = await submit(door, ("bank.post", "88", 1))
    await until_exported(door, exporter)
    await door.post(f"/v1/intents/{one['id']}/undo", {"reason": "A mistake."})

    async def undone():
        _, body, _ = await door.get(f"/v1/intents/{one['id']}")
        return body["phase"] == "compensated"

    await eventually(undone)
    await until_exported(door, exporter)
    (back,) = collector.named("compensation")
    (tool, undo) = collector.named("execute_tool bank.post")
    assert undo.parent_span_id == back.span_id
    assert back.parent_span_id.hex() == span_of(one["id"])
    ids = [span.span_id for span in collector.spans]
    assert len(ids) == len(set(ids))
    assert tool.span_id != undo.span_id


async def test_what_the_agents_tracing_leaves_out_is_left_out_here(door, collector, exporter):
    await submit(door, ("bank.post", "88", 1), traceparent=TRACEPARENT[:-2] + "00")
    await until_exported(door, exporter)
    assert collector.spans == []


async def test_a_collector_that_is_away_misses_nothing_and_one_that_refuses_stops_nothing(door, collector, exporter):
    told = []
    exporter._counted = lambda outcome, spans: told.append((outcome, spans))
    collector.answers.extend([503, 400])
    await submit(door, ("bank.post", "88", 1))
    with pytest.raises(NotNow, match="HTTP 503"):
        await until_exported(door, exporter)
    await until_exported(door, exporter)  # refused for good
    await submit(door, ("bank.post", "88", 2))
    await until_exported(door, exporter)
    assert len(collector.named("intent")) == 1
    assert [outcome for outcome, spans in told if spans] == ["postponed", "refused", "exported"]


async def test_one_process_exports_at_a_time(door, collector, exporter):
    other = exporter_of(door, collector, "there")
    await submit(door, ("bank.post", "88", 1))
    assert await other.advance() is None
    await exporter.stop()
    other.start()

    async def exported():
        return collector.named("intent")

    assert len(await eventually(exported)) == 1
    await other.stop()


async def test_outside_systems_are_called_under_the_actions_own_span_where_it_is_exported(door):
    seen = []
    commit = door.bank.commit

    async def watched(call, receipt):
        seen.append(call.traceparent)
        return await commit(call, receipt)

    door.bank.commit = watched
    await submit(door, ("bank.post", "88", 1))
    door.service.coordinator.calls.traced = True
    one = await submit(door, ("bank.post", "88", 2))
    assert seen == [TRACEPARENT, f"00-{TRACE}-{span_of(one['id'], 'action', 'a1')}-01"]
