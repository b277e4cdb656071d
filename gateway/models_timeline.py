"""What people and agents may send about timelines, as strict models."""

from pydantic import Field

from gateway.models import SEALED, Body, Cursor, IntentId, JSONObject, Limit, Moment, Position, Query, Until, Word
from ledger import bounds


class NewNote(Body):
    """Something to remember beside an intent."""

    text: str = Field(
        min_length=1, max_length=bounds.NOTE_TEXT_LENGTH, description=f"A developer will read it. {SEALED}"
    )
    data: JSONObject = Field(default_factory=dict, description="Kept and shown, never interpreted.")


class TimelineQuery(Query):
    """When to look."""

    min_position: Position | None = Field(default=None, description="Wait until the ledger has this position.")


class CompareQuery(Query):
    """Which two runs."""

    left: IntentId = Field(description="An intent; its run is the left one.")
    right: IntentId = Field(description="An intent; its run is the right one.")
    min_position: Position | None = Field(default=None, description="Wait until the view has this position.")


class PathsQuery(Query):
    """Which runs."""

    task: Word | None = None
    agent: Word | None = None
    since: Moment | None = Field(default=None, description="Submitted at or after this time.")
    until: Until | None = Field(default=None, description="Submitted before this time.")
    after: Cursor | None = Field(default=None, description="The `next` of the page before.")
    limit: Limit = Field(default=bounds.PAGE_LIMIT_DEFAULT, description="At most so many paths.")
    min_position: Position | None = Field(default=None, description="Wait until the view has this position.")
