"""What is said when an approval is asked for or answered, and the signature under it. Pure.

Signed after Standard Webhooks (https://www.standardwebhooks.com, "symmetric signatures"): the receiver checks
`webhook-signature` over `webhook-id`, `webhook-timestamp` and the body as it came, and refuses an old timestamp. The id
names the event and is the same each time it is sent, so that a receiver can tell a repetition.

A message says who asks for what in one line an action. Parameters beyond that line, reasons and notes stay here: what
leaves the house may be read by a chat system. Whoever answers looks at the intent itself, and names its digest.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from ledger import events as e
from ledger.canonical import canonical
from ledger.sealing import veiled

_ANSWERS: Final[Mapping[str, str]] = {"rejected": "approval.rejected", "expired": "approval.expired"}  # by cause


def kind(event: e.Event) -> str | None:
    """Name what is said about an event; None where nothing is."""
    match event:
        case e.ApprovalRequested():
            return "approval.requested"
        case e.ApprovalGiven():
            return "approval.given"
        case e.AnomalyDetected():
            return "anomaly.detected"
        case e.AbortDecided(cause=cause):
            return _ANSWERS.get(cause)
        case _:
            return None


def body(stream: Sequence[e.Recorded], told: e.Recorded) -> bytes:
    """Write what is said about `told`, from its intent's events up to it: the same bytes each time."""
    if isinstance(told.event, e.AnomalyDetected):
        return _of_anomaly(told, told.event)
    past = [one.event for one in stream if one.version <= told.version]
    (submitted,) = (event for event in past if isinstance(event, e.IntentSubmitted))
    return canonical(
        {
            "type": kind(told.event),
            "timestamp": told.at,
            "data": {
                "ledger": told.ledger,
                "position": told.position,
                "intent": submitted.intent,
                "agent": {"name": submitted.agent.name, "version": submitted.agent.version},
                "commissioned_by": submitted.commissioned_by,
                "custody": submitted.custody,
                "task": submitted.task,
                "actions": [
                    {"id": plan.id, "operation": plan.operation, "summary": veiled(plan.summary)}
                    for plan in submitted.actions
                ],
                "by": getattr(told.event, "by", None),
                **_asked(past),
            },
        }
    )


def _of_anomaly(told: e.Recorded, found: e.AnomalyDetected) -> bytes:
    return canonical(
        {
            "type": kind(found),
            "timestamp": told.at,
            "data": {
                "ledger": told.ledger,
                "position": told.position,
                "anomaly": found.anomaly,
                "kind": found.kind,
                "whose": found.whose,
                "name": found.name,
                "operation": found.operation,
                "sentence": found.sentence,
                "response": found.response,
                "suspended": found.suspended,
                "intent": found.intent,
                "found_at": found.found_at,
            },
        }
    )


def headers(message_id: str, at: datetime, content: bytes, signing: Sequence[bytes]) -> dict[str, str]:
    """Sign a message that is sent `at` this time, with every key in force."""
    seconds = str(int(at.timestamp()))
    signed = b".".join((message_id.encode(), seconds.encode(), content))
    return {
        "webhook-id": message_id,
        "webhook-timestamp": seconds,
        "webhook-signature": " ".join(
            "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in signing
        ),
    }


def _asked(past: Sequence[e.Event]) -> dict[str, Any]:
    """Return what the last request asked for, and who has approved exactly that so far."""
    requests = [event for event in past if isinstance(event, e.ApprovalRequested)]
    if not requests:
        return {"digest": None, "approvers": (), "quorum": None, "expires_at": None, "approved_by": ()}
    last = requests[-1]
    given = [event.by for event in past if isinstance(event, e.ApprovalGiven) and event.digest == last.digest]
    return {
        "digest": last.digest,
        "approvers": last.approvers,
        "quorum": last.quorum,
        "expires_at": last.expires_at,
        "approved_by": tuple(dict.fromkeys(given)),
    }
