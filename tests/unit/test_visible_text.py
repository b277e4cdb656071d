"""What a person sees is what is there: nothing in another's text hides, reorders or poses as something else."""

import sys
import unicodedata

import pytest

from ledger.visible_text import UNSEEN, cut, readable, visible, visible_json


@pytest.mark.parametrize(
    "text",
    [
        "refund 42.00 USD to ch_88",
        "Zoë Müller, Łódź",
        "naïve — “quoted” … 5 €",
        "返金 カード ノート 환불",
        "a\\b {x} [red]",
    ],
)
def test_ordinary_words_are_shown_as_they_are(text):
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("safe\u202egnp.exe", "safe\\u202egnp.exe"),  # right-to-left override
        ("a\u2066b\u2069", "a\\u2066b\\u2069"),  # isolates
        ("a\u200bb\u200d\ufeff", "a\\u200bb\\u200d\\ufeff"),  # zero width
        ("a\u00adb", "a\\u00adb"),  # soft hyphen
        ("red \x1b[31mtext\x07", "red \\u001b[31mtext\\u0007"),  # a terminal's own words
        ("one\ntwo\r\tthree", "one\\u000atwo\\u000d\\u0009three"),
        ("\x9b31m", "\\u009b31m"),  # the same in one character
        ("a\u00a0b\u3000c", "a\\u00a0b\\u3000c"),  # spaces that are none
        ("line\u2028end", "line\\u2028end"),
        ("p\u0430yp\u0430l", "p\\u0430yp\\u0430l"),  # Cyrillic
        ("\u03bf\u0251\u0131", "\\u03bf\\u0251\\u0131"),  # Greek, phonetic, dotless
        ("\uff41\uff11", "\\uff41\\uff11"),  # full width
        ("\U0001d41a\u212a\u212b", "\\U0001d41a\\u212a\\u212b"),  # mathematical a, Kelvin, Angstrom
        ("e\u0301", "e\\u0301"),  # a loose mark
        ("\u0663", "\\u0663"),  # another 3
        ("1\u2044100", "1\\u2044100"),  # fraction slash
        ("\u05d0\u0627", "\\u05d0\\u0627"),  # letters that turn their neighbours round
        ("\U000e0041", "\\U000e0041"),  # invisible tags
        ("\ue000\U0010ffff", "\\ue000\\U0010ffff"),  # private, unassigned
        ("\ufffd\u3164\u115f", "\\ufffd\\u3164\\u115f"),  # fillers that look like nothing
    ],
)
def test_what_could_deceive_is_written_as_an_escape(text, shown):
    assert visible(text) == shown


@pytest.fixture(scope="module")
def as_they_are():
    """Every character of Unicode that is shown as it is."""
    return [one for one in map(chr, range(sys.maxunicode + 1)) if visible(one) == one]


def test_of_all_characters_none_shown_as_it_is_can_control_a_terminal_or_turn_text_round(as_they_are):
    assert len(as_they_are) > 100_000
    for one in as_they_are:
        assert unicodedata.category(one)[0] not in {"C", "M"}, hex(ord(one))
        assert one == " " or unicodedata.category(one)[0] != "Z", hex(ord(one))
        assert unicodedata.bidirectional(one) not in {"R", "AL", "RLE", "RLO", "RLI", "PDF", "PDI"}, hex(ord(one))


def test_of_all_letters_none_shown_as_it_is_is_a_variant_of_an_ascii_letter(as_they_are):
    for one in as_they_are:
        if one.isalnum() and not one.isascii():
            assert not unicodedata.normalize("NFKC", one).isascii(), hex(ord(one))


def test_in_json_no_text_can_pose_as_an_escape():
    assert visible_json({"b": "\\u202e", "a": "\u202e"}) == '{"a":"\\u202e","b":"\\\\u202e"}'


def test_a_long_text_is_cut_and_says_how_long_it_was():
    assert cut("x" * 20, 20) == "x" * 20
    assert cut("x" * 2_000, 4) == "xxxx… (2,000 characters, 4 shown)"


@pytest.mark.parametrize("name", ["dana", "Zoë Müller", "返金", "payment-specialist", "a b"])
def test_a_readable_name_is_one_that_is_seen_whole(name):
    assert readable(name)
    for unseen in ("\u200b", "\u202e", "\n", "\u3000", *sorted(UNSEEN)):
        assert not readable(name + unseen)
        assert not readable(name[0] + unseen + name[1:])
    assert not readable("")
    assert not readable(name + " ")
