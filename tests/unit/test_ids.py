"""Ids are made from what is handed in, and keys never change their derivation."""

import hashlib
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from ledger.ids import action_key, intent_id, intent_of, intent_stream

NOW = datetime(2022, 2, 22, 19, 22, 22, tzinfo=UTC)  # RFC 9562 appendix A.6 uses this moment


def test_the_example_of_rfc_9562_comes_out():
    entropy = (0xCC3 << 68 | 0x18C4DC0C0C07398F).to_bytes(10, "big")
    assert intent_id(NOW, entropy) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


@given(st.binary(min_size=10, max_size=10), st.integers(1_577_836_800_000, 4_102_444_800_000))
def test_an_id_is_a_uuid_of_version_7_and_begins_with_its_millisecond(entropy, milliseconds):
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    value = UUID(intent_id(moment, entropy))
    assert (value.version, value.variant) == (7, "specified in RFC 4122")
    assert milliseconds - (value.int >> 80) in (0, 1)  # a float of seconds may lose the last millisecond


def test_ids_of_later_milliseconds_sort_later():
    later = datetime(2022, 2, 22, 19, 22, 22, 1000, tzinfo=UTC)
    assert intent_id(NOW, b"\xff" * 10) < intent_id(later, b"\x00" * 10)


def test_the_stream_of_an_intent_leads_back_to_it():
    assert intent_of(intent_stream("0199")) == "0199"
    assert intent_of("grant/7") is None


def test_the_key_of_an_action_is_derived_as_it_always_was():
    expected = hashlib.sha256(b"main\n0199\nrefund\ncommit").hexdigest()[:40]
    assert action_key("main", "0199", "refund", "commit") == expected
    assert expected == "b5a42241879f2386bf37898ad61f7b76ef9a59bc"


def test_keys_differ_by_each_of_their_parts():
    parts = ("main", "0199", "refund", "commit")
    keys = {action_key(*parts)} | {
        action_key(*[p + "x" if i == n else p for i, p in enumerate(parts)]) for n in range(4)
    }
    assert len(keys) == 5
