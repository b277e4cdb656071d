"""Personal data on their way through the coordinator: sealed when an intent comes in, opened for who must know.

Who must know: policy, when it gives its verdict, and an adapter, when it is called. Everything else (the state, the
digests that people approve, the views) lives with what is recorded, which is sealed. An intent in which nothing is
personal passes here without a question to anybody.

What a new intent may not have: a personal value in a name, which would be recorded as it is; and words that look like
sealed ones.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from adapters.personal import PersonalData
from adapters.registry import Registry
from coordinator.intake import Fault, Request, likeness
from ledger import bounds
from ledger.canonical import canonical
from ledger.echoes import read
from ledger.errors import Invalid, NotReady
from ledger.events import IntentSubmitted
from ledger.intent_seal import IntentSeal, is_personal, texts
from ledger.intents import JSON, ActionPlan, Personal
from ledger.sealing import MARK
from ledger.state import IntentState
from ledger.subject_keys import SubjectKeys

_SEALED: Final = MARK.encode()
_NO_NAMES: Final = frozenset({"", ".", ".."})  # none of these can stand in the address where somebody is erased
_POSING: Final[Fault] = {"path": "", "message": f"Nothing here may look like a sealed value ({MARK}…)."}


class Incoming(msgspec.Struct, frozen=True):
    """A new intent: as policy sees it, as it is recorded, and what makes another one look like it."""

    plain: IntentSubmitted
    kept: IntentSubmitted
    seal: IntentSeal | None
    likeness: str | None


class Seals:
    """The seals of one ledger's intents."""

    def __init__(self, ledger: str, keys: SubjectKeys | None, registry: Registry) -> None:
        """Without `keys` this process takes and works no intent with personal data."""
        self._ledger = ledger
        self._keys = keys
        self._registry = registry

    async def of(self, state: IntentState) -> IntentSeal | None:
        """Return the seal of an intent on record, with the keys that are left now; None if nothing is personal.

        Raises `Unavailable`.
        """
        submitted = state.submitted
        if not is_personal(submitted):
            return None
        ids = {plan.personal.key for plan in submitted.actions if plan.personal is not None}
        return IntentSeal.of(self._ledger, submitted, await self._there.living(ids), _answers(state))

    async def text(self, text: str, states: Sequence[IntentState]) -> str:
        """Return what is said about several intents, with what is personal in any of them sealed as in that one.

        Raises `Unavailable`.
        """
        concerned = [state.submitted for state in states if is_personal(state.submitted)]
        ids = {plan.personal.key for one in concerned for plan in one.actions if plan.personal is not None}
        keys = await self._there.living(ids) if ids else {}
        for state in states if keys else ():
            text = IntentSeal.of(self._ledger, state.submitted, keys, _answers(state)).text(text)
        return text

    def faults(self, request: Request) -> Sequence[Fault]:
        """Return what is wrong with an otherwise faultless intent as regards personal data.

        No parameter may look sealed: people would be shown it opened, and the outside system be sent it as it is.
        """
        concerned = self._concerned(request)
        if not concerned:
            return [_POSING] if any(_SEALED in msgspec.json.encode(action.params) for action in request.actions) else []
        values = [text for action, data in concerned.items() for text in texts(data.personal(_params(request, action)))]
        found = _telling_names(request, [text for text in values if len(text.encode()) >= bounds.NAMED_LENGTH])
        for number, action in enumerate(request.actions):
            if action.id in concerned and concerned[action.id].subject_of(action.params) in _NO_NAMES:
                path = f"/actions/{number}/params/{'/'.join(concerned[action.id].subject)}"
                found.append({"path": path, "message": "A data subject must have a name by which it can be erased."})
        if _SEALED in canonical([request.reason, request.context, [action.params for action in request.actions]]):
            found.append(_POSING)
        return found

    async def incoming(self, request: Request, plain: IntentSubmitted) -> Incoming:
        """Seal a new and faultless intent. Raises `Invalid` if that is too much to keep, `Unavailable`."""
        concerned = self._concerned(request)
        if not concerned:
            return Incoming(plain, plain, None, likeness(plain))
        subjects = {action: data.subject_of(_params(request, action)) for action, data in concerned.items()}
        keys = await self._there.of(set(subjects.values()))
        personal = {action: Personal(keys[subjects[action]].id, data.fields) for action, data in concerned.items()}
        seal = IntentSeal(self._ledger, plain.intent, personal, {key.id: key for key in keys.values()})
        for action, data in concerned.items():
            seal.learn(data.personal(_params(request, action)), personal[action].key)
        alike = likeness(plain)
        kept = msgspec.structs.replace(
            plain,
            request_digest=seal.keyed(plain.request_digest),
            reason=seal.text(plain.reason),
            context=seal.texts(plain.context),
            actions=tuple(
                self._sealed(plan, seal, concerned.get(plan.id), personal.get(plan.id)) for plan in plain.actions
            ),
        )
        if len(msgspec.json.encode(kept)) > bounds.SEALED_BYTES:
            most = f"{bounds.SEALED_BYTES:,} bytes"
            fault = {"path": "", "message": f"What is personal is repeated so often that it takes more than {most}."}
            raise Invalid("The intent is too long once it is sealed. Nothing was recorded.", errors=[fault])
        return Incoming(plain, kept, seal, None if alike is None else seal.keyed(alike))

    async def same(self, state: IntentState, request: Request) -> bool:
        """Tell whether a request is the one that an intent on record was made of.

        Where that was sealed and the key is gone nobody can tell, and it does not count as the same.
        """
        submitted, seal = state.submitted, await self.of(state)
        if seal is None:
            return submitted.request_digest == request.request_digest
        return not seal.erased and seal.keyed(request.request_digest) == submitted.request_digest

    def _concerned(self, request: Request) -> dict[str, PersonalData]:
        """Return what is personal of each action that has something personal."""
        found: dict[str, PersonalData] = {}
        for action in request.actions:
            data = self._registry.personal(action.operation)
            if data is not None:
                found[action.id] = data
        return found

    def _sealed(
        self, plan: ActionPlan, seal: IntentSeal, data: PersonalData | None, personal: Personal | None
    ) -> ActionPlan:
        """Return an action as it is recorded."""
        params = plan.params

        def veil(name: str, shown: str) -> str:
            if data is not None and personal is not None and name in data.parameters:
                return seal.seal(shown, personal.key)
            return seal.text(shown)

        summary = self._registry.summary(plan.operation, params, veil)
        if data is not None and personal is not None:
            params = data.sealed(params, lambda value: seal.seal(value, personal.key))
        return msgspec.structs.replace(plan, params=seal.texts(params), summary=summary, personal=personal)

    @property
    def _there(self) -> SubjectKeys:
        if self._keys is None:
            raise NotReady("This process has no keyring, and personal data cannot be sealed or opened without one.")
        return self._keys


def _answers(state: IntentState) -> list[Any]:
    facts = [] if state.policy is None else [state.policy.facts]
    return [*facts, *((action.receipt, action.preview, action.result) for action in state.actions)]


def _params(request: Request, action: str) -> JSON:
    return next(one.params for one in request.actions if one.id == action)


def _telling_names(request: Request, values: Sequence[str]) -> list[Fault]:
    """Name the names of a request that contain a personal value: they would be recorded as they are."""
    named = [("/idempotency_key", request.idempotency_key), ("/task", request.task or "")]
    named += [(f"/actions/{number}/id", action.id) for number, action in enumerate(request.actions)]
    return [
        {"path": path, "message": "This name contains a personal value of the intent, and names cannot be sealed."}
        for path, name in named
        if any(read(text)[0] in read(name)[0] for text in values)
    ]
