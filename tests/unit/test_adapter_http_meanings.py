"""What a status means stands in three places, for people, in the module and as code: each is held to the others."""

import re
from pathlib import Path

import pytest

import adapters.http.adapter
from adapters.http.adapter import Meaning, meaning
from adapters.http_client import Answer
from ledger.intents import Verb

DOCS = Path(__file__).parents[2] / "docs" / "adapters.md"
WORDS = {"yes": Meaning.YES, "no": Meaning.NO, "not now": Meaning.NOT_NOW, "in doubt": Meaning.UNCLEAR}
COLUMNS = {
    Verb.PREVIEW: 0,
    Verb.PREPARE: 0,
    Verb.COMMIT: 1,
    Verb.COMPENSATE: 1,
    Verb.ABORT: 2,
}


def table(text: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines()]
    start = lines.index("| answer | preview, prepare | commit, compensate | abort |")
    return lines[start : next(n for n in range(start, len(lines)) if not lines[n].startswith("|"))]


def rows() -> dict[str, list[str]]:
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table(DOCS.read_text("utf-8"))[2:]]
    return {first: rest for first, *rest in cells}


def said(status: int, verb: Verb) -> Meaning:
    """Return what the document says about a status."""
    named = {int(number): row for row in rows() for number in re.findall(r"\b[345][0-9]{2}\b", row)}
    (other,) = (row for row in rows() if row.startswith("any other status"))
    (success,) = (row for row in rows() if row.startswith("2xx with"))
    row = success if 200 <= status <= 299 else named.get(status, other)
    return WORDS[rows()[row][COLUMNS[verb]]]


def test_the_document_and_the_module_have_the_same_table():
    assert table(adapters.http.adapter.__doc__ or "") == table(DOCS.read_text("utf-8"))


def test_no_status_stands_in_two_rows():
    numbers = re.findall(r"\b[345][0-9]{2}\b", " ".join(rows()))
    assert len(numbers) == len(set(numbers)) > 10


@pytest.mark.parametrize("verb", COLUMNS)
def test_every_status_means_what_the_document_says(verb):
    for status in range(100, 600):
        assert meaning(verb, Answer(status, {})) is said(status, verb), status


@pytest.mark.parametrize("verb", COLUMNS)
def test_what_an_operator_lists_is_a_no_and_a_success_without_sense_is_none(verb):
    for status in range(400, 500):
        assert meaning(verb, Answer(status, {}), frozenset({status})) is Meaning.NO
    assert meaning(verb, Answer(200, None, "it is compressed")) is Meaning.UNCLEAR


@pytest.mark.parametrize("verb", [Verb.COMMIT, Verb.COMPENSATE])
def test_only_402_and_422_are_a_certain_no_to_what_has_an_effect(verb):
    assert {status for status in range(100, 600) if meaning(verb, Answer(status, {})) is Meaning.NO} == {402, 422}
