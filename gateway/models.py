"""What clients may send, as strict models: the shape of a request is checked here, its meaning by the coordinator.

Bodies come from the gate as values and are checked without coercion: "1" is no number and true is no 1. Query
parameters are text by nature, so each kind of them says itself how it is read. What is unknown is refused, by name.
Every limit comes from `ledger/bounds.py`. The models are also what `/openapi.json` shows.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo

from ledger import bounds
from ledger.errors import Invalid, InvalidRequest
from ledger.phases import Phase
from projections.audit.entry import Kind
from projections.audit.view import OUTCOMES


class Body(BaseModel):
    """A JSON object from outside: nothing is coerced, nothing unknown is let in, nothing is echoed in errors."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


Name = Annotated[str, Field(min_length=1, max_length=bounds.NAME_LENGTH)]
_READ: Final = "A person will read it."
SEALED: Final = "What is personal in the intent is sealed in it; anything else is kept as it is written."
KEPT: Final = "It is kept for ever as it is written, so it names nobody whose data are personal."
Reason = Annotated[str, Field(min_length=1, max_length=bounds.REASON_LENGTH, description=f"{_READ} {SEALED}")]
KeptReason = Annotated[str, Field(min_length=1, max_length=bounds.REASON_LENGTH, description=f"{_READ} {KEPT}")]
Digest = Annotated[str, Field(min_length=1, max_length=bounds.NAME_LENGTH, description="As the intent shows it.")]
IntentId = Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]  # as every intent shows it
JSONObject = dict[str, Any]


class NewAction(Body):
    """One effect to have at one outside system."""

    id: Name = Field(description="Names the action within its intent.")
    operation: Name = Field(description="`adapter.verb`, from GET /v1/operations.")
    params: JSONObject = Field(description="As the operation's schema wants them.")
    after: list[Name] = Field(
        default_factory=list,
        max_length=bounds.ACTIONS_PER_INTENT,
        description="Ids of actions that must be done before it.",
    )


class NewIntent(Body):
    """Actions that happen all or not at all."""

    task: Name | None = Field(default=None, description="The task under which the agent acts.")
    reason: Reason
    confidence: float | None = Field(default=None, ge=0, le=1, description="How sure the agent says it is.")
    mode: Literal["execute", "dry_run"] = "execute"
    deadline: int = Field(
        default=bounds.DEADLINE_SECONDS_DEFAULT,
        ge=1,
        le=bounds.DEADLINE_SECONDS_MAX,
        description="Seconds for the preparing phase; what is not decided by then is aborted.",
    )
    context: JSONObject = Field(default_factory=dict, description="Kept and shown, never interpreted.")
    again: bool = Field(
        default=False,
        description="Means it, although the same actions were submitted under the same task within the last hour.",
    )
    follows: IntentId | None = Field(default=None, description="The intent that hands over to this one.")
    actions: list[NewAction] = Field(min_length=1, max_length=bounds.ACTIONS_PER_INTENT)


class ApproveIntent(Body):
    """Approve exactly what a digest names: the actions, their parameters and previews, the policy set."""

    digest: Digest
    note: str | None = Field(default=None, max_length=bounds.REASON_LENGTH, description=f"{_READ} {SEALED}")


class RejectIntent(Body):
    """Reject exactly what a digest names; the intent is aborted."""

    digest: Digest
    reason: Reason


class CancelIntent(Body):
    """Abort an intent that is not decided yet."""

    reason: Reason


class UndoIntent(Body):
    """Undo a committed intent."""

    reason: Reason
    partial: bool = Field(default=False, description="Undo what can be undone, even if not everything can be.")


class ResolveIntent(Body):
    """State what is true in the world about an intent that asks for attention."""

    action: Name | None = Field(description="The action named in `attention`; null where it names none.")
    outcome: Literal["applied", "not_applied"]
    note: str = Field(max_length=bounds.REASON_LENGTH, description=f"How you know. {SEALED}")


# ── query parameters ─────────────────────────────────────────────────────────────────────────────────────────────

_DIGITS: Final = re.compile(r"0|[1-9][0-9]{0,15}").fullmatch
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,12})?(Z|[+-][0-9]{2}:[0-9]{2})", re.IGNORECASE
).fullmatch


def _number(text: object) -> object:
    if isinstance(text, str):
        if not _DIGITS(text):
            raise ValueError("Input should be a whole number in plain digits")
        return int(text)
    return text


def _truth(text: object) -> object:
    if isinstance(text, str):
        if text not in {"true", "false"}:
            raise ValueError("Input should be true or false")
        return text == "true"
    return text


def _moment(text: object) -> object:
    if isinstance(text, str):
        if not _TIME(text):
            raise ValueError("Input should be a time as RFC 3339 writes it, such as 2026-01-31T12:00:00Z")
        try:
            return datetime.fromisoformat(text.upper()).astimezone(UTC)
        except OverflowError:
            raise ValueError("Input should be a time between the years 1 and 9999") from None
    return text


def _not_before_since(until: datetime, info: ValidationInfo) -> datetime:
    since = info.data.get("since")
    if since is not None and until < since:
        raise ValueError("This time is before `since`")
    return until


def _position_or_moment(text: object) -> object:
    if isinstance(text, str) and not _DIGITS(text) and not _TIME(text):
        raise ValueError("Input should be a position, or a time as RFC 3339 writes it, such as 2026-01-31T12:00:00Z")
    if isinstance(text, str) and text.isdigit():
        if int(text) > bounds.INTEGER_MAX:
            raise ValueError(f"Input should be less than or equal to {bounds.INTEGER_MAX}")
        return int(text)
    return _moment(text)


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("Input should not contain the character NUL")
    if "\N{REPLACEMENT CHARACTER}" in text:  # what stands for bytes that are no UTF-8
        raise ValueError("Input should be UTF-8")
    return text


class Query(BaseModel):
    """Query parameters: each at most once, none unknown, none empty."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class NoQuery(Query):
    """No query parameters."""


_OUTCOMES: Final = tuple(sorted(str(outcome) for outcome in OUTCOMES))
Position = Annotated[int, Field(ge=0, le=bounds.INTEGER_MAX), BeforeValidator(_number)]
Limit = Annotated[int, Field(ge=1, le=bounds.PAGE_LIMIT_MAX), BeforeValidator(_number)]
Truth = Annotated[bool, BeforeValidator(_truth)]
Moment = Annotated[datetime, BeforeValidator(_moment)]
PositionOrMoment = Annotated[
    Annotated[int, Field(ge=0, le=bounds.INTEGER_MAX)] | datetime, BeforeValidator(_position_or_moment)
]
Until = Annotated[Moment, AfterValidator(_not_before_since)]
Word = Annotated[str, Field(min_length=1, max_length=bounds.NAME_LENGTH), AfterValidator(_no_nul)]
Cursor = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[A-Za-z0-9_=-]+$")]


class IntentQuery(Query):
    """How to look at one intent."""

    at: PositionOrMoment | None = Field(default=None, description="As it was at this position, or at this time.")
    min_position: Position | None = Field(default=None, description="Wait until the ledger has this position.")


class ExposureQuery(Query):
    """How fresh the exposure must be."""

    min_position: Position | None = Field(default=None, description="Wait until the view has this position.")


class FeedQuery(Query):
    """Which part of the ledger's events."""

    after: Position | None = Field(default=None, description="Begin after this position.")
    limit: Limit | None = Field(default=None, description="At most so many events.")


class IntentsQuery(Query):
    """Which intents."""

    phase: Annotated[Phase, Field(strict=False)] | None = None
    agent: Word | None = None
    task: Word | None = None
    commissioned_by: Word | None = None
    operation: Word | None = None
    attention: Truth | None = None
    follows: Word | None = Field(default=None, description="That were handed over by this intent.")
    escalated_to: Word | None = Field(default=None, description="That wait for this person, since they failed.")
    after: Cursor | None = Field(default=None, description="The `next` of the page before.")
    limit: Limit = bounds.PAGE_LIMIT_DEFAULT
    min_position: Position | None = Field(default=None, description="Wait until the view has this position.")


class AuditQuery(Query):
    """Which entries of the audit."""

    agent: Word | None = None
    commissioned_by: Word | None = None
    task: Word | None = None
    operation: Word | None = None
    policy: Word | None = None
    outcome: Literal[*_OUTCOMES] | None = None  # type: ignore[valid-type]
    since: Moment | None = Field(default=None, description="At or after this time.")
    until: Until | None = Field(default=None, description="Before this time.")
    kind: Annotated[Kind, Field(strict=False)] | None = None
    by: Word | None = Field(default=None, description="The person who did it, or the agent who issued.")
    grant: Word | None = Field(default=None, description="Anywhere in the custody chain.")
    after: Cursor | None = Field(default=None, description="The `next` of the page before.")
    limit: Limit = bounds.PAGE_LIMIT_DEFAULT
    min_position: Position | None = Field(default=None, description="Wait until the view has this position.")


_OBJECT: Final = "Input should be a JSON object."
_IN_OUR_WORDS: Final = {
    "extra_forbidden": "This field is not known here.",
    "model_type": _OBJECT,
    "dict_type": _OBJECT,
    "list_type": "Input should be a JSON array.",
    "string_pattern_mismatch": "Input does not have the form that /openapi.json shows.",
}
_PLACES_MAX: Final = 50  # whoever has more to mend will ask again
_Model = TypeVar("_Model", bound=BaseModel)


def checked(model: type[_Model], value: object) -> _Model:
    """Check a body. Raises `Invalid` for an intent, `InvalidRequest` for anything else, naming each place."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        fault = Invalid if model is NewIntent else InvalidRequest
        raise fault(
            "The body does not follow the contract. Nothing was recorded.", errors=_places(error, value)
        ) from None


def checked_query(model: type[_Model], pairs: Iterable[tuple[str, str]]) -> _Model:
    """Check query parameters against their model. Raises `InvalidRequest`, naming each parameter that is wrong."""
    found: dict[str, str] = {}
    for name, text in pairs:
        if name in found:
            place = {"path": _pointer((name,)), "message": "This query parameter stands here more than once."}
            raise InvalidRequest("A query parameter is repeated. Nothing was changed.", errors=[place])
        found[name] = text
    try:
        return model.model_validate(found)
    except ValidationError as error:
        raise _wrong_query(_places(error, found)) from None


def wrong_query(path: str, message: str) -> InvalidRequest:
    """Return what is raised for one query parameter that cannot be used, by the place where it stands."""
    return _wrong_query([{"path": path, "message": message}])


def no_next() -> InvalidRequest:
    """Return what is raised for an `after` that is no `next` of a page."""
    return wrong_query("/after", "This is not the `next` of a page.")


def _wrong_query(places: list[dict[str, str]]) -> InvalidRequest:
    return InvalidRequest("The query parameters do not follow the contract. Nothing was changed.", errors=places)


def _places(error: ValidationError, value: object) -> list[dict[str, str]]:
    return [
        {"path": _pointer(_placed(fault["loc"], value)), "message": _sentence(fault["type"], fault["msg"])}
        for fault in error.errors(include_url=False, include_context=False, include_input=False)[:_PLACES_MAX]
    ]


def _placed(place: tuple[int | str, ...], value: object) -> tuple[int | str, ...]:
    """Leave out of a place the names of our own alternatives, which are nowhere in the value; not what is missing."""
    found: list[int | str] = []
    for count, part in enumerate(place, 1):
        match value:
            case dict() if part in value:
                value = value[part]
            case list() if isinstance(part, int) and part < len(value):
                value = value[part]
            case dict() if count == len(place):
                pass
            case _:
                continue
        found.append(part)
    return tuple(found)


def _sentence(kind: str, message: str) -> str:
    if kind in _IN_OUR_WORDS:
        return _IN_OUR_WORDS[kind]
    return message.removeprefix("Value error, ").replace(" after validation", "") + "."


def _pointer(place: tuple[int | str, ...]) -> str:
    """Write a place as a JSON pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in place)
