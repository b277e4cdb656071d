"""An entry is the RFC 8785 form of a recorded event, whatever stands in it."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import Malformed
from ledger.log.entry import entry, read_entry

AT = datetime(2026, 11, 23, 0, 49, 29, 123456, tzinfo=UTC)


def test_an_entry_reads_as_its_module_says():
    assert entry("main", 7, "intent/0199", 1, "IntentAborted", AT, b"{}") == (
        b'{"at":"2026-11-23T00:49:29.123456Z","body":{},"ledger":"main","position":7,'
        b'"stream":"intent/0199","type":"IntentAborted","version":1}'
    )


texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=20)


@given(
    texts,
    st.integers(1, 2**53 - 1),
    texts,
    st.integers(1, 2**53 - 1),
    texts,
    st.datetimes(timezones=st.just(UTC)),
    texts,
)
def test_an_entry_is_canonical(ledger, position, stream, version, type_name, at, value):
    when = at.strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")
    fields = {"at": when, "body": {"value": value}, "ledger": ledger, "position": position}
    whole = rfc8785.dumps({**fields, "stream": stream, "type": type_name, "version": version})
    assert entry(ledger, position, stream, version, type_name, at, rfc8785.dumps({"value": value})) == whole
    assert read_entry(whole).written == whole


def test_the_time_is_that_of_utc_with_six_digits_wherever_it_was_taken():
    at = datetime(2026, 11, 23, 2, 49, 29, tzinfo=timezone(timedelta(hours=2)))
    assert b'"2026-11-23T00:49:29.000000Z"' in entry("main", 1, "s", 1, "T", at, b"{}")


def test_what_a_body_pretends_is_another_entry():
    honest = entry("main", 7, "s", 1, "T", AT, b'{},"ledger":"main","position":8,"stream":"s","type":"T","version":1}')
    assert honest != entry("main", 8, "s", 1, "T", AT, b"{}")


def test_no_time_zone_is_mistaken_for_utc():
    at = datetime(2026, 11, 23, 2, 49, 29, 123456, tzinfo=timezone(timedelta(hours=2, seconds=1)))
    assert b'"2026-11-23T00:49:28.123456Z"' in entry("main", 1, "s", 1, "T", at, b"{}")


@pytest.mark.parametrize("at", ["9999-12-31T23:59:59.999999-23:00", "2026-11-23T00:49:29.123456", "yesterday"])
def test_what_has_no_time_of_utc_is_no_entry(at):
    with pytest.raises(Malformed):
        read_entry(entry("main", 1, "s", 1, "T", AT, b"{}").replace(b"2026-11-23T00:49:29.123456Z", at.encode()))


@pytest.mark.parametrize(("written", "other"), [(b'"s"', b'"\xff"'), (b"{}", b"[" * 100_000 + b"]" * 100_000)])
def test_what_no_decoder_can_read_is_no_entry(written, other):
    with pytest.raises(Malformed):
        read_entry(entry("main", 1, "s", 1, "T", AT, b"{}").replace(written, other))
