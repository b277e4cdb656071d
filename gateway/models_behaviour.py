"""What clients ask of the watch over behaviour."""

from typing import Literal

from pydantic import Field

from gateway.models import Body, Cursor, KeptReason, Limit, Moment, Position, Query, Truth, Until, Word
from ledger import bounds


class BehaviourQuery(Query):
    """Which habits."""

    agent: Word | None = Field(default=None, description="Or the person who submits or answers.")
    operation: Word | None = Field(default=None, description="`denied` for attempts that were denied.")
    after: Cursor | None = Field(default=None, description="The `next` of the page before.")
    limit: Limit = bounds.PAGE_LIMIT_DEFAULT
    min_position: Position | None = Field(default=None, description="Wait until the view has this position.")


class AnomaliesQuery(Query):
    """Which anomalies."""

    agent: Word | None = Field(default=None, description="Or the person whose it is.")
    operation: Word | None = None
    kind: Literal["count", "amount", "operation", "target", "denied", "approver"] | None = None
    response: Literal["note", "escalate", "suspend"] | None = None
    standing: Truth | None = Field(default=None, description="Neither cleared by a person nor over.")
    since: Moment | None = Field(default=None, description="Told at or after this time.")
    until: Until | None = Field(default=None, description="Told before this time.")
    after: Cursor | None = Field(default=None, description="The `next` of the page before.")
    limit: Limit = bounds.PAGE_LIMIT_DEFAULT
    min_position: Position | None = Field(default=None, description="Wait until the view has this position.")


class ClearAnomaly(Body):
    """Say that you have looked at an anomaly."""

    note: KeptReason
