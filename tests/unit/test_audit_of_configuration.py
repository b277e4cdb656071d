"""What a change of configuration is, and how the audit tells of it."""

import pytest
from histories import recorded
from unit.told import submitted

from adapters.configuration import load_sound
from adapters.registry import Registry
from gateway.configuration_record import described, record_configuration
from ledger import events as e
from ledger.configuration_events import CONFIGURATION_STREAM
from ledger.errors import IllegalTransition
from ledger.store import Append, Appended, VersionConflict
from projections.audit.entry import Act, Kind
from projections.audit.sentence import sentence
from projections.audit.view import AUDIT

TOML = """
[adapters.desk]
type = "email"
host = "127.0.0.1"
port = 2525
sender = "desk@example.com"
"""


class OneStream:
    """A store that knows one stream, and another process that may come first."""

    def __init__(self, *events: e.Event, rival: e.Event | None = None) -> None:
        self.events = list(events)
        self._rival = rival

    async def read(self, stream: str, after_version: int = 0) -> list[e.Recorded]:
        assert (stream, after_version) == (CONFIGURATION_STREAM, 0)
        return [recorded(event, stream, version, version) for version, event in enumerate(self.events, 1)]

    async def append(self, append: Append) -> Appended | VersionConflict:
        if self._rival is not None:
            self.events.append(self._rival)
            self._rival = None
        if append.expected_version != len(self.events):
            return VersionConflict(len(self.events))
        self.events += append.events
        return Appended(())


@pytest.fixture
def configure(tmp_path):
    def written(text: str) -> e.ConfigurationChanged:
        file = tmp_path / "intentledger.toml"
        file.write_text(text)
        return described(load_sound(file, {}))

    return written


def entries(*events: e.Event):
    rows = ()
    for version, event in enumerate(events, 1):
        rows = AUDIT.apply(rows, recorded(event, CONFIGURATION_STREAM, version, version))
    return rows


async def test_what_is_configured_is_recorded_once_and_again_only_when_it_is_another(configure):
    store = OneStream()
    assert await record_configuration(store, configure(TOML))
    assert not await record_configuration(store, configure(TOML + "# a comment changes nothing\n"))
    assert await record_configuration(store, configure(TOML.replace("2525", "2526")))
    first, second = store.events
    assert (first.before, second.before) == (None, first.configuration)
    assert "desk.send" in first.operations
    assert (second.added, second.changed, second.removed) == ((), ("[adapters.desk]",), ())


async def test_a_service_that_offers_nothing_records_nothing_until_it_offered_something(configure):
    store = OneStream()
    assert not await record_configuration(store, described(Registry([])))
    assert await record_configuration(store, configure(TOML))
    assert await record_configuration(store, described(Registry([])))
    assert set(store.events[-1].removed) == {"[adapters.desk]", "desk.send"}


async def test_processes_that_begin_together_record_a_change_once(configure):
    now = configure(TOML)
    assert not await record_configuration(OneStream(rival=now), now)
    older = configure(TOML.replace("2525", "2526"))
    store = OneStream(rival=older)
    assert await record_configuration(store, now)
    assert [event.before for event in store.events] == [None, older.configuration]


def test_no_secret_stands_in_the_event_of_a_configuration(tmp_path):
    (tmp_path / "password").write_text("hunter2-in-a-file")
    file = tmp_path / "intentledger.toml"
    file.write_text(TOML + f'username = "desk"\npassword = {{ file = "{tmp_path}/password" }}\n')
    assert b"hunter2" not in e.encode(described(load_sound(file, {})))


def test_the_audit_says_what_changed(configure):
    first = configure(TOML)
    more = e.ConfigurationChanged(
        "sha256:0123456789abcdef", first.configuration, {}, {}, ("[adapters.crm]", "crm.update"), ("desk.send",)
    )
    began, changed = entries(first, more)
    assert (changed.kind, changed.outcome, changed.by) == (Kind.CONFIGURE, Act.CONFIGURED, None)
    assert changed.operations == ("crm.update", "desk.send")
    assert sentence(began).startswith("The service began with its first configuration (sha256:")
    assert sentence(began).endswith("): added [adapters.desk] and desk.send")
    assert sentence(changed) == (
        "The service began with another configuration (sha256:0123456789ab): "
        "added [adapters.crm] and crm.update; changed desk.send"
    )


def test_a_configuration_has_no_place_in_the_stream_of_an_intent(configure):
    rows = AUDIT.apply((), recorded(submitted(), "intent/" + submitted().intent, 1, 1))
    with pytest.raises(IllegalTransition):
        AUDIT.apply(rows, recorded(configure(TOML), "intent/" + submitted().intent, 2, 2))
