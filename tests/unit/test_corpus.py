"""What was written once is read for ever: the events of every release, through the events of this one."""

import json
from collections import Counter

import msgspec
import pytest
from kept_events import RELEASES, kept, still_says, understood
from views import folded

from ledger import events as e
from ledger.canonical import canonical
from ledger.errors import Corrupt, UnknownEventType
from ledger.ids import intent_of, undo_plan_of
from ledger.intents import Subject, Value
from ledger.phases import Phase
from ledger.state import fold
from ledger.undo_state import fold_plan

every_release = pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.stem)


def test_a_corpus_is_kept_for_each_release():
    assert [release.stem for release in RELEASES][:3] == ["0.1", "0.2", "0.3"]


@every_release
def test_every_kept_event_still_says_what_it_said(release):
    for one in kept(release):
        assert canonical(json.loads(one.body)) == one.body, f"the corpus itself was changed: {one.type}"
        event = e.decode(one.type, one.body)
        now = json.loads(e.encode(event))
        assert still_says(now, json.loads(one.body)), f"{one.type} of release {release.stem} has lost something"
        assert e.decode(type(event).__name__, e.encode(event)) == event


@every_release
def test_every_kept_stream_still_folds_to_where_it_ended(release):
    events = understood(release)
    streams = {}
    for one in events:
        streams.setdefault(one.stream, []).append(one)
    phases = Counter(fold(streams[name]).phase for name in streams if intent_of(name))
    assert {Phase.COMMITTED, Phase.ABORTED, Phase.COMPENSATED} <= phases.keys()
    for name, of_stream in streams.items():
        assert undo_plan_of(name) is None or fold_plan(of_stream) is not None
    views = folded(events)
    assert {row.intent: row.phase for row in views["intents"]} == {
        intent_of(name): fold(streams[name]).phase for name in streams if intent_of(name)
    }
    assert len(views["audit"]) >= len(views["intents"])


def test_every_event_of_today_is_kept_in_the_newest_corpus():
    newest = Counter(one.type for one in kept(RELEASES[-1]))
    missing = e.EVENT_TYPES.keys() - newest.keys()
    assert not missing, f"{sorted(missing)}: show them in tests/histories.py, then python tests/corpus/keep.py VERSION"


# ── what an incompatible change looks like ───────────────────────────────────────────────────────────────────────


class Renamed(Value, frozen=True):
    """GrantRevoked with another name for what it says."""

    grant: str
    because: str
    by: str
    custody: tuple[str, ...] = ()


class Demanding(Value, frozen=True):
    """GrantRevoked with a field that the older ones have not."""

    grant: str
    reason: str
    by: str
    ticket: str
    custody: tuple[str, ...] = ()


class Forgetful(msgspec.Struct, frozen=True):
    """GrantRevoked that has forgotten who did it, and does not mind."""

    grant: str
    reason: str


@pytest.mark.parametrize("changed", [Renamed, Demanding])
def test_a_renamed_or_demanded_field_would_be_found(monkeypatch, changed):
    monkeypatch.setattr(e, "EVENT_TYPES", {**e.EVENT_TYPES, "GrantRevoked": changed})
    (revoked, *_) = [one for one in kept(RELEASES[-1]) if one.type == "GrantRevoked"]
    with pytest.raises(Corrupt, match="GrantRevoked cannot be read"):
        e.decode("GrantRevoked", revoked.body)


@pytest.mark.parametrize("body", [b'{"grant":"\xff"}', b'{"grant":' + b"[" * 100_000 + b"]" * 100_000 + b"}"])
def test_what_no_decoder_can_read_is_corrupt(body):
    with pytest.raises(Corrupt, match="GrantRevoked cannot be read"):
        e.decode("GrantRevoked", body)


def test_a_forgotten_field_would_be_found(monkeypatch):
    monkeypatch.setattr(e, "EVENT_TYPES", {**e.EVENT_TYPES, "GrantRevoked": Forgetful})
    with pytest.raises(AssertionError, match="has lost something"):
        test_every_kept_event_still_says_what_it_said(RELEASES[-1])


# ── upcasting ────────────────────────────────────────────────────────────────────────────────────────────────────


class _Muddled(msgspec.Struct, frozen=True):
    """An imagined event of a release before the first: IntentMixed, under another name and in other words."""

    why: str


def from_muddled(body: bytes) -> e.IntentMixed:
    return e.IntentMixed(reason=msgspec.json.decode(body, type=_Muddled).why)


def test_a_retired_event_is_read_as_the_one_that_replaced_it(monkeypatch):
    body = canonical({"why": "one stands, one does not"})
    with pytest.raises(UnknownEventType, match="IntentMuddled"):
        e.decode("IntentMuddled", body)
    monkeypatch.setattr(e, "UPCAST", {"IntentMuddled": from_muddled})
    assert e.decode("IntentMuddled", body) == e.IntentMixed(reason="one stands, one does not")
    with pytest.raises(Corrupt, match="IntentMuddled cannot be read"):
        e.decode("IntentMuddled", b'{"why":1}')


def test_a_pattern_of_the_first_release_is_still_a_permission():
    grants = [one.event for one in understood(RELEASES[0]) if isinstance(one.event, e.GrantIssued)]
    assert all(isinstance(pattern, str) for grant in grants for pattern in grant.operations)
    assert {grant.subject for grant in grants} <= {Subject("person", "operator")}
