"""What a sealed value is: where it opens, what it tells, and how it is found and opened within a JSON text."""

import json
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import Erased
from ledger.events import ActionDone, ActionPrepared, AttentionResolved, PolicyEvaluated
from ledger.intent_seal import IntentSeal
from ledger.intents import Personal
from ledger.sealing import ERASED, TOKEN, DataKey, is_sealed, open_json, open_text, shortened, tokens, veiled

INTENT = "01999999-0000-7000-8000-000000000001"
OTHER = "01999999-0000-7000-8000-000000000002"
KEY = DataKey("k" + "0" * 20, b"k" * 32)
MAIL = "ann+88@example.com"
SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


def blob(token):
    return TOKEN.fullmatch(token)[3]


@given(JSON)
def test_what_was_sealed_opens_where_it_was_sealed(value):
    token = KEY.seal("main", INTENT, value)
    assert is_sealed(token)
    assert KEY.open("main", INTENT, blob(token)) == value


def test_the_same_value_in_the_same_intent_is_the_same_token_and_nowhere_else():
    assert KEY.seal("main", INTENT, MAIL) == KEY.seal("main", INTENT, MAIL)
    other = DataKey(KEY.id, b"o" * 32)
    elsewhere = [KEY.seal("main", OTHER, MAIL), KEY.seal("test", INTENT, MAIL), other.seal("main", INTENT, MAIL)]
    assert len({blob(token) for token in (KEY.seal("main", INTENT, MAIL), *elsewhere)}) == 4


@pytest.mark.parametrize(
    ("key", "ledger", "intent"),
    [(KEY, "test", INTENT), (KEY, "main", OTHER), (DataKey("k" + "1" * 20, b"k" * 32), "main", INTENT)],
    ids=["another ledger", "another intent", "another key's id"],
)
def test_a_token_opens_nowhere_else(key, ledger, intent):
    with pytest.raises(ValueError, match="not sealed here"):
        key.open(ledger, intent, blob(KEY.seal("main", INTENT, MAIL)))


def test_a_token_that_was_changed_opens_nowhere():
    sealed = blob(KEY.seal("main", INTENT, MAIL))
    for place in range(0, len(sealed), 7):
        changed = sealed[:place] + ("A" if sealed[place] != "A" else "B") + sealed[place + 1 :]
        with pytest.raises(ValueError, match="not sealed here"):
            KEY.open("main", INTENT, changed)


def test_the_length_of_a_token_does_not_tell_yes_from_no():
    assert len({len(KEY.seal("main", INTENT, value)) for value in (True, False, None, 1, 99, "no")}) == 1


def test_a_key_and_a_fingerprint_say_nothing_of_themselves():
    assert "kkkk" not in repr(KEY)
    assert KEY.fingerprint("a") != KEY.fingerprint("b")
    assert KEY.fingerprint("a") != DataKey(KEY.id, b"o" * 32).fingerprint("a")


def opener(*found):
    values = iter(found)
    return lambda *_: next(values)


@given(JSON)
def test_a_text_that_is_only_a_token_becomes_its_value(value):
    token = KEY.seal("main", INTENT, value)
    assert open_text(token, opener(value)) == value
    assert json.loads(open_json(json.dumps({"a": [token]}).encode(), opener(value))) == {"a": [value]}


@given(st.text(), st.text(), st.text())
def test_a_token_within_a_text_is_opened_in_place(before, value, after):
    token = KEY.seal("main", INTENT, value)
    text = f"{before}|{token}|{after}"
    assert open_text(text, opener(value)) == f"{before}|{value}|{after}"
    assert json.loads(open_json(json.dumps({"a": text}).encode(), opener(value))) == {"a": f"{before}|{value}|{after}"}


def test_a_token_that_names_a_member_or_stands_in_quotes_breaks_no_json():
    token = KEY.seal("main", INTENT, {"b": 1})
    encoded = json.dumps({token: 1, "said": f'"{token}"'}).encode()
    assert json.loads(open_json(encoded, lambda *_: {"b": 1})) == {'{"b":1}': 1, "said": '"{"b":1}"'}
    assert tokens(encoded) == {(KEY.id, INTENT)}


def test_a_text_is_shortened_around_its_tokens_and_never_in_one():
    token = KEY.seal("main", INTENT, MAIL)
    assert shortened(f"to {token} and more", 7) == f"to {token} and"
    assert shortened(f"to {token} and more", 2) == "to"
    assert shortened("x" * 9, 3) == "xxx"
    assert veiled(f"to {token}") == "to [sealed]"


# ── the seal of an intent ────────────────────────────────────────────────────────────────────────────────────────


def seal(*values, keys=(KEY,)):
    found = IntentSeal("main", INTENT, {"a": Personal(KEY.id, ("name",))}, {key.id: key for key in keys})
    for value in values:
        found.learn(value, KEY.id)
    return found


@pytest.mark.parametrize(
    "said",
    [MAIL, f"no such {MAIL}.", MAIL.upper(), "GET /c/ann%2B88%40example.com: 404", f'{{"mail":"{MAIL}"}}'],
)
def test_a_personal_value_is_sealed_wherever_it_is_repeated_and_opens_as_it_was_said(said):
    sealed = seal(MAIL).text(said)
    assert "example" not in sealed.lower()
    assert seal(MAIL).opened(sealed) == said


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (MAIL, f"{MAIL}-archive and {MAIL}_old"),  # what follows is no part of the token
        ("İstanbul Kaya", "mail İstanbul Kaya, or i̇stanbul kaya"),
        ("Ann Strauß", "ANN STRAUSS and ann \u017ftrauß"),
        ("Zoë Müller", "Zoe\u0308 Mu\u0308ller"),
        ("田中太郎", "田中太郎様の注文"),
        ("李明", "订单是李明的"),
        ("Ann Müller", "GET /c?name=Ann+M%C3%BCller 404, GET /c/ann%20müller 404, Ann M\\u00fcller"),
        ("a/b@c d.example", "GET /c/a%2Fb@c%20d.example: 404"),
        ("O'Brien & Sons", "<p>O&#39;Brien &amp; Sons</p>"),
        ('Ann "A" \\ B', '{"name": "Ann \\"A\\" \\\\ B"}'),
        ("Ann\nExample", 'wrote "Ann\\u{a}Example"'),
        ("12 Very Long Street, Springfield", 'context.params.home is "12 Very Long Street, Sp…, so no'),
        ("12 Very Long Street, Springfield", "x" * 470 + " 12 Very Long Street, Sp"),
        (12345.5, "earns 12345.5 a month"),
    ],
)
def test_a_personal_value_is_found_however_it_is_spelled_and_where_it_was_cut(known, said):
    sealed = seal(known).text(said)
    assert len(TOKEN.findall(sealed)) >= 1
    left = "".join(TOKEN.split(sealed)[::4])
    assert re.search("ann|müller|kaya|12|sons|太郎|李", left, re.IGNORECASE) is None
    assert seal(known).opened(sealed) == said


def test_numbers_that_are_personal_are_sealed_as_numbers_too_and_open_as_numbers():
    found = seal(491701234567, 7)
    sealed = found.texts({"phone": 491701234567, "level": 7, "said": "491701234567", "on": True})
    assert is_sealed(sealed["phone"])
    assert is_sealed(sealed["said"])
    assert (sealed["level"], sealed["on"]) == (7, True)
    assert found.opened(sealed) == {"phone": 491701234567, "level": 7, "said": "491701234567", "on": True}


def test_an_answer_of_many_rows_is_sealed_in_no_time():
    rows = [{"name": f"Person Number {number}"} for number in range(3000)]
    began = time.process_time()
    sealed = seal().sealed(ActionDone("a", {"rows": rows}))
    assert time.process_time() - began < 2
    assert "Person" not in str(sealed.result)


def test_no_text_is_long_to_look_through():
    began = time.process_time()
    seal(*("an" * count + str(count) for count in range(100, 164))).text("an" * 120_000)
    seal(*("ü" * 300 + str(count) for count in range(64))).text("ü" * 60_000)
    seal("abc").text("abc " * 30_000)
    assert time.process_time() - began < 3


def test_words_that_only_contain_a_personal_value_and_very_short_ones_stay():
    assert seal("Ann", "88").text("Announce 88 channels to Annabel") == "Announce 88 channels to Annabel"
    assert is_sealed(seal("88").text("88"))


def test_sealing_twice_changes_nothing():
    once = seal(MAIL).text(f"to {MAIL}, {MAIL}")
    assert seal(MAIL, "sealed", "v1").text(once) == once


@given(st.lists(st.text(min_size=1), max_size=4), st.text())
def test_what_is_sealed_opens_as_it_was_whatever_is_personal(values, text):
    found = seal(*values)
    assert found.opened(found.text(text)) == text


WORDS = st.sampled_from(
    ["Ann Example", "ann", "88-a", "é%C3", "\\n", "田中", "…", "-", "_", " ", ".", "x", "sealed.v1."]
)


@given(st.lists(WORDS, max_size=12).map("".join), st.lists(WORDS, max_size=12).map("".join))
def test_whatever_stands_around_it_everything_opens_as_it_was(one, other):
    found = seal("Ann Example", "88-a", "é%C3", "\\n田", one)
    assert found.opened(found.texts([other, one, one + other])) == [other, one, one + other]


def test_an_answer_s_personal_members_are_sealed_and_learned():
    event = ActionPrepared("a", {"hold": "of Ann Example"}, {"facts": {"name": "Ann Example", "age": 3}, "after": None})
    sealed = seal(MAIL).sealed(event)
    assert is_sealed(sealed.preview["facts"]["name"])
    assert sealed.preview["facts"]["age"] == 3
    assert "Ann" not in str(sealed.receipt) + str(sealed.preview)
    assert seal().opened(sealed) == event
    verdict = seal(MAIL).sealed(
        PolicyEvaluated("deny", (), "sha256:p", (f"not {MAIL}",), {"a": {"name": "Bo", "to": MAIL}})
    )
    assert MAIL not in str(verdict)
    assert is_sealed(verdict.facts["a"]["name"])
    assert list(seal("a").sealed(PolicyEvaluated("deny", (), "sha256:p", facts={"a": {}})).facts) == ["a"]


def test_names_stay_as_they_are():
    event = AttentionResolved(action="Ann Example", outcome="applied", note="Ann Example called", by="Ann Example")
    sealed = seal("Ann Example", "applied").sealed(event)
    assert (sealed.action, sealed.outcome, sealed.by) == ("Ann Example", "applied", "Ann Example")
    assert "Ann" not in sealed.note


def test_once_the_key_is_gone_nothing_opens_nothing_new_is_kept_and_digests_cannot_be_computed():
    token, gone = seal(MAIL).text(MAIL), seal(keys=())
    assert gone.erased
    with pytest.raises(Erased):
        gone.opened({"to": token})
    with pytest.raises(Erased):
        gone.keyed("sha256:x")
    assert gone.left({"to": token, "n": 1}) == {"n": 1}
    assert gone.sealed(ActionDone("a", {"name": "Ann Example", "n": 1})).result == {"name": ERASED, "n": 1}


def test_what_belongs_to_another_intent_or_only_looks_sealed_is_left_alone():
    foreign = KEY.seal("main", OTHER, MAIL)
    forged = foreign.replace(OTHER, INTENT)
    assert seal().opened([foreign, forged]) == [foreign, forged]
