"""The seal of one intent: what is personal in it is sealed before it is recorded, and opened before it leaves.

Sealed is:

  * each parameter that its operation's schema marks, and each member of an answer that the operation names;
  * the same text, or number, wherever else it stands: in a reason, in another parameter, in what an outside system
    answered or complained about, however it is spelled there (`ledger/echoes.py`).

Names stay as they are (`_NAMES`): they are compared. Whoever lets a new intent in sees to it that none holds anything
personal. Pure; made of an intent's events and the keys that are left.
"""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final, Self, TypeVar

import msgspec

from ledger import bounds
from ledger.canonical import canonical
from ledger.echoes import Echoes
from ledger.errors import Erased
from ledger.event import Event
from ledger.events import IntentSubmitted
from ledger.intents import JSON, Personal
from ledger.sealing import ERASED, TOKEN, DataKey, each_text, is_sealed, open_text

T = TypeVar("T")
Told = TypeVar("Told", bound=Event)

_NAMES: Final = frozenset(
    {
        *("intent", "action", "key", "grant", "custody", "agent", "by", "approved_by", "approvers", "escalated_to"),
        *("digest", "policy_set", "policies", "charges", "effect", "cause", "outcome", "verb", "failure_mode", "plan"),
        "anomalies",
    }
)
_ANSWERS: Final = frozenset({"receipt", "preview", "result"})  # of the event's action
_BY_ACTION: Final = frozenset({"facts", "previews"})
_GONE: Final = "The personal data of its subject were erased, and it cannot be without them. Nothing was sent."


def is_personal(submitted: IntentSubmitted) -> bool:
    """Tell whether anything in an intent is sealed."""
    return any(plan.personal is not None for plan in submitted.actions)


class IntentSeal:
    """What seals and opens the personal data of one intent."""

    def __init__(self, ledger: str, intent: str, personal: Mapping[str, Personal], keys: Mapping[str, DataKey]) -> None:
        """`personal` by action; `keys` those that are left, by id."""
        self._ledger = ledger
        self._intent = intent
        self._personal = personal
        self._keys = {one.key: keys[one.key] for one in personal.values() if one.key in keys}
        self._echoes = Echoes()

    @classmethod
    def of(cls, ledger: str, submitted: IntentSubmitted, keys: Mapping[str, DataKey], answers: Any = ()) -> Self:
        """Return the seal of an intent that is on record; `answers` are what adapters have answered so far."""
        personal = {plan.id: plan.personal for plan in submitted.actions if plan.personal is not None}
        seal = cls(ledger, submitted.intent, personal, keys)
        known = [text for text in texts([[plan.params for plan in submitted.actions], answers]) if is_sealed(text)]
        for key in seal._keys:
            seal.learn(seal.opened([text for text in known if key in text]), key)
        return seal

    @property
    def erased(self) -> bool:
        """Tell whether some of its personal data are gone."""
        return any(one.key not in self._keys for one in self._personal.values())

    def learn(self, value: Any, key: str) -> None:
        """Look for the texts in a personal value, from now on, wherever something is sealed."""
        for text in texts(value):
            self._echoes.learn(text, key)

    def seal(self, value: Any, key: str) -> str:
        """Return the token of a personal value; where the key is gone, nothing of it is kept."""
        if is_sealed(value):
            return str(value)
        if key not in self._keys:
            return ERASED
        return self._keys[key].seal(self._ledger, self._intent, value)

    def text(self, text: str) -> str:
        """Return a text in which what is known to be personal is sealed."""
        known = self._echoes.mark(text)
        if known is not None:
            return self.seal(text, known)
        sealed, end = "", 0
        for token in TOKEN.finditer(text):
            sealed += self._sealed(text[end : token.start()]) + token[0]
            end = token.end()
        return sealed + self._sealed(text[end:])

    def number(self, number: float) -> float | str:
        """Return a number, or the token of one that is known to be personal."""
        written = canonical(number).decode()
        known = self._echoes.mark(written) if len(written) >= bounds.ECHO_LENGTH else None
        return number if known is None else self.seal(number, known)

    def texts(self, value: T) -> T:
        """Return a JSON value or struct in which what is known to be personal is sealed."""
        sealed: T = each_text(value, self.text, self.number)
        return sealed

    def sealed(self, event: Told) -> Told:
        """Return an event about the intent as it may be recorded."""
        action = getattr(event, "action", None)
        changed: dict[str, Any] = {}
        for name in event.__struct_fields__:
            value = getattr(event, name)
            if name in _NAMES:
                continue
            if name in _ANSWERS:
                value = self._answer(value, action)
            elif name in _BY_ACTION:
                value = {one: self._answer(answer, one) for one, answer in value.items()}
            changed[name] = value
        for name, value in changed.items():  # by now every answer has told what is personal in it
            by_action = name in _BY_ACTION
            changed[name] = {one: self.texts(value[one]) for one in value} if by_action else self.texts(value)
        return msgspec.structs.replace(event, **changed)

    def opened(self, value: T) -> T:
        """Return a JSON value or struct with what was sealed in this intent opened. Raises `Erased`."""
        found: T = each_text(value, lambda text: open_text(text, self._open))
        return found

    def left(self, members: JSON) -> JSON:
        """Return those members of an object that can still be opened, opened."""
        found: JSON = {}
        for name, member in members.items():
            with suppress(Erased):
                found[name] = self.opened(member)
        return found

    def keyed(self, digest: str) -> str:
        """Return a digest that can neither be computed nor guessed at once a key is gone. Raises `Erased`."""
        if self.erased:
            raise Erased(_GONE)
        for key in sorted(self._keys):
            digest = self._keys[key].fingerprint(digest).hex()
        return f"hmac-sha256:{digest}"

    def _answer(self, value: Any, action: str | None) -> Any:
        personal = None if action is None else self._personal.get(action)
        return value if personal is None or not personal.fields else self._members(value, personal)

    def _members(self, value: Any, personal: Personal) -> Any:
        if isinstance(value, dict):
            return {
                name: self._member(member, personal.key)
                if name in personal.fields and member is not None
                else self._members(member, personal)
                for name, member in value.items()
            }
        return [self._members(one, personal) for one in value] if isinstance(value, list) else value

    def _member(self, value: Any, key: str) -> str:
        if key in self._keys and not is_sealed(value):
            self.learn(value, key)
        return self.seal(value, key)

    def _sealed(self, text: str) -> str:
        sealed, end = [], 0
        tokens: dict[str, str] = {}  # the same words again are the same token
        for start, stop, key in self._echoes.found(text):
            found = text[start:stop]
            tokens[found] = tokens.get(found) or self.seal(found, key)
            sealed += [text[end:start], tokens[found]]
            end = stop
        return "".join([*sealed, text[end:]])

    def _open(self, match: re.Match[str]) -> Any:
        key, intent, blob = match.groups()
        if intent != self._intent or all(one.key != key for one in self._personal.values()):
            return match[0]
        if key not in self._keys:
            raise Erased(_GONE)
        try:
            return self._keys[key].open(self._ledger, intent, blob)
        except ValueError:  # it only looks like a token
            return match[0]


def texts(value: Any) -> Iterable[str]:
    """Yield every text in a JSON value, and numbers as they are written."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield canonical(value).decode()
    elif isinstance(value, dict):
        for member in value.values():
            yield from texts(member)
    elif isinstance(value, list | tuple):
        for member in value:
            yield from texts(member)
