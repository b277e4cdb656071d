"""Spans for OpenTelemetry: what `projections/timeline/spans.py` tells, in the words of its semantic conventions.

  * An action is a tool that an agent executes: `execute_tool`, with the `gen_ai.*` attributes of the conventions for
    generative AI. Its calls, waits and holds are events of its span, because a span for each would say no more.
  * What is exported are our own words, names, counts and times. No parameter, no result and nobody's free text leaves
    this way: a collector forgets nothing, and what is personal must be forgettable.
  * Ids are derived (`ledger/traces.py`), so what is exported twice is the same span.

This is the only file that knows the SDK; it is there only with the extra `otel`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from ledger.events import NoteAdded, Recorded
from ledger.state import IntentState
from ledger.traces import read_traceparent, run_of, trace_of
from projections.timeline.span import Kind, Span

Value = str | int | float | bool
_SPANS: Final[Mapping[Kind, str]] = {
    Kind.INTENT: "intent",
    Kind.POLICY: "policy",
    Kind.ACTION: "execute_tool",
    Kind.UNDO: "execute_tool",
    Kind.APPROVAL: "wait_for_approval",
    Kind.ATTENTION: "wait_for_attention",
    Kind.VERIFY: "verify",
    Kind.COMPENSATION: "compensation",
}
_ERRORS: Final = frozenset(
    {"refused", "failed", "in_doubt", "stuck", "aborted", "compensated", "mixed", "contradicted", "not_applied"}
)
_SCOPE_VERSION: Final = "1"


class Told(msgspec.Struct, frozen=True):
    """A part of an intent's story that is complete: after the position `after`, up to its last event."""

    state: IntentState
    spans: Sequence[Span]
    notes: Sequence[Recorded]
    after: int


def resource_of(ledger: str, version: str) -> Resource:
    """Describe this service, and what the environment adds (OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES)."""
    return Resource.create(
        {"service.version": version, "intentledger.ledger": ledger},
    ).merge(Resource({}) if _is_named() else Resource({"service.name": "intentledger"}))


def _is_named() -> bool:
    """Tell whether the environment names the service; the SDK's own name for one that is not begins so."""
    return not str(Resource.create().attributes["service.name"]).startswith("unknown_service")


def sampled(state: IntentState) -> bool:
    """Tell whether the agent's tracing wants to see this; without a `traceparent` we do."""
    parent = read_traceparent(state.submitted.traceparent)
    return parent is None or parent.sampled


def spans_to_export(told: Told, resource: Resource) -> list[ReadableSpan]:
    """Return what ended after `told.after`, as OpenTelemetry's spans."""
    trace = int(trace_of(told.state.id, told.state.submitted.traceparent), 16)
    return [
        _span(told, span, trace, resource)
        for span in told.spans
        if span.kind in _SPANS and span.ended_at is not None and span.position > told.after
    ]


def encoded(spans: Sequence[ReadableSpan]) -> bytes:
    """Write spans as the body of an OTLP request (`ExportTraceServiceRequest`)."""
    return bytes(encode_spans(spans).SerializeToString())


def rejected(answer: bytes) -> int:
    """Return how many spans a collector says that it did not take."""
    return int(ExportTraceServiceResponse.FromString(answer).partial_success.rejected_spans)


def _span(told: Told, span: Span, trace: int, resource: Resource) -> ReadableSpan:
    remote = read_traceparent(told.state.submitted.traceparent) if span.kind is Kind.INTENT else None
    parent = span.parent if remote is None else remote.span
    tool = span.kind in {Kind.ACTION, Kind.UNDO}
    failed = span.outcome in _ERRORS
    return ReadableSpan(
        name=f"{_SPANS[span.kind]} {span.operation}" if tool else _SPANS[span.kind],
        context=_context(trace, span.id),
        parent=None if parent is None else _context(trace, parent, remote=remote is not None),
        resource=resource,
        attributes=_attributes(told.state, span, failed=failed),
        events=_events(told, span),
        links=_links(told, span),
        kind=SpanKind.SERVER if span.kind is Kind.INTENT else SpanKind.INTERNAL,
        status=Status(StatusCode.ERROR, span.outcome) if failed else Status(StatusCode.UNSET),
        start_time=_nanoseconds(span.started_at),
        end_time=_nanoseconds(span.ended_at or span.started_at),
        instrumentation_scope=InstrumentationScope("intentledger", _SCOPE_VERSION),
    )


def _attributes(state: IntentState, span: Span, *, failed: bool) -> dict[str, Value]:
    submitted = state.submitted
    found: dict[str, Value | None] = {
        "intentledger.intent": state.id,
        "intentledger.outcome": span.outcome,
        "gen_ai.agent.name": submitted.agent.name,
        "gen_ai.agent.version": submitted.agent.version,
        "gen_ai.conversation.id": run_of(state.id, submitted.traceparent),
        "error.type": span.outcome if failed else None,
    }
    if span.kind is Kind.INTENT:
        found |= {
            "intentledger.task": submitted.task,
            "intentledger.mode": submitted.mode.value,
            "intentledger.grant": submitted.grant,
            "intentledger.follows": submitted.follows,
            "intentledger.policies": ",".join(state.policy.policies) if state.policy else None,
        }
    if span.kind in {Kind.ACTION, Kind.UNDO} and span.action is not None:
        plan = state.action(span.action).plan
        found |= {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": plan.operation,
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.id": plan.undo_key if span.kind is Kind.UNDO else plan.key,
            "intentledger.action": plan.id,
            "intentledger.adapter": plan.adapter,
            "intentledger.guarantee": plan.guarantee.value,
            "intentledger.calls": span.attempt,
        }
    return {name: value for name, value in found.items() if value is not None}


def _events(told: Told, span: Span) -> list[Event]:
    """Return what happened within a span: the calls of an action, the answers of people, the notes of an intent."""
    events = [
        Event(
            f"intentledger.{one.kind}",
            {
                name: value
                for name, value in (
                    ("intentledger.verb", one.verb),
                    ("intentledger.outcome", one.outcome),
                    ("intentledger.attempt", one.attempt),
                    ("intentledger.seconds", (one.ended_at - one.started_at).total_seconds()),
                )
                if value is not None
            },
            _nanoseconds(one.ended_at),
        )
        for one in told.spans
        if one.parent == span.id and one.kind not in _SPANS and one.ended_at is not None
    ]
    events += [Event(f"intentledger.{one.name}", {}, _nanoseconds(one.at)) for one in span.moments]
    if span.kind is Kind.INTENT:
        events += [
            Event("intentledger.note", {"intentledger.position": n.position}, _nanoseconds(n.at)) for n in told.notes
        ]
    return events


def _links(told: Told, span: Span) -> list[Link]:
    """Link an intent to the agent's spans in which notes about it were written."""
    if span.kind is not Kind.INTENT:
        return []
    where = [read_traceparent(n.event.traceparent) for n in told.notes if isinstance(n.event, NoteAdded)]
    return [
        Link(_context(int(one.trace, 16), one.span, remote=True)) for one in dict.fromkeys(where) if one is not None
    ]


def _context(trace: int, span: str, *, remote: bool = False) -> SpanContext:
    return SpanContext(trace, int(span, 16), is_remote=remote, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp()) * 1_000_000_000 + at.microsecond * 1_000
