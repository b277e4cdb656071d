"""What the outside systems said of an intent's actions, kept in its entry word for word. Pure.

For each action of which something was said, by its id:

    outcome   done | failed | refused | aborted | undone | undo_failed, as its adapter answered;
              applied | not_applied, as a person stated it in place of an outside system that could not be asked
    result    what the outside system answered when the effect was made
    undone    what it answered when the effect was undone
    error     why not, in its words
    by        the person; not there where the outside system itself answered

What was said last is the outcome; the answers stay.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from ledger import events as e
from ledger.canonical import canonical_text
from projections.audit.entry import plain

_Words = dict[str, Any]

_SAID: Final[Mapping[type[e.Event], Callable[[Any], _Words]]] = {
    e.ActionRefused: lambda event: {"outcome": "refused", "error": plain(event.reason)},
    e.ActionDone: lambda event: {"outcome": "done", "result": event.result},
    e.ActionFailed: lambda event: {"outcome": "failed", "error": plain(event.reason)},
    e.ActionAborted: lambda _: {"outcome": "aborted"},
    e.ActionUndone: lambda event: {"outcome": "undone", "undone": event.result},
    e.UndoFailed: lambda event: {"outcome": "undo_failed", "error": plain(event.reason)},
    e.AttentionResolved: lambda event: {"outcome": event.outcome, "by": event.by},
}
CONFIRMING: Final = frozenset(_SAID)

_decode: Final = msgspec.json.Decoder(dict[str, dict[str, msgspec.Raw]]).decode


def confirmed(before: str | None, event: Any) -> str | None:
    """Return what is known of the actions after an event of `CONFIRMING`, as canonical JSON; None for nothing."""
    if event.action is None:
        return before  # a person's answer about the intent itself
    known: dict[str, _Words] = {} if before is None else _decode(before)
    answers = {name: value for name, value in known.get(event.action, {}).items() if name in {"result", "undone"}}
    known[event.action] = answers | _SAID[type(event)](event)
    return canonical_text(known)
