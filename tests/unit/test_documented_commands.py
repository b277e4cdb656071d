"""Every command that the README and the documentation show is one that there is, with flags that it knows."""

import re
import shlex
from contextlib import suppress
from pathlib import Path

import pytest
from cyclopts import MissingArgumentError

from gateway.cli import app

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
BLOCK = re.compile(r"^```[a-z]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
IN_A_BLOCK = re.compile(r"^(?:[A-Z_]+=\S+ )*intentledger ([a-z][^|>\n]*)", re.MULTILINE).findall
IN_A_SENTENCE = re.compile(r"`intentledger ([a-z][^`|…]*)`").findall


def pages():
    return [(page.stem, page.read_text().replace("\\\n", " ")) for page in PAGES]


IN_BLOCKS = [(name, one) for name, text in pages() for block in BLOCK.findall(text) for one in IN_A_BLOCK(block)]
IN_SENTENCES = [(name, one) for name, text in pages() for one in IN_A_SENTENCE(BLOCK.sub("", text))]


def given(words):
    app.parse_args(shlex.split(words, comments=True), exit_on_error=False, print_error=False)


@pytest.mark.parametrize(("page", "words"), IN_BLOCKS)
def test_a_command_that_is_shown_can_be_given(page, words):
    given(words)


@pytest.mark.parametrize(("page", "words"), IN_SENTENCES)
def test_a_command_that_is_named_exists(page, words):
    with suppress(MissingArgumentError):  # `intentledger undo` in a sentence need not say what
        given(words)


def test_commands_are_shown():
    assert min(len(IN_BLOCKS), len(IN_SENTENCES)) > 20
