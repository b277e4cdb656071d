"""Style as a test: what the project promises about its own code, checked on every file."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("ledger", "coordinator", "adapters", "projections", "authority", "gateway", "sql", "fence")
PRODUCT = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
EVERYTHING = sorted(
    path
    for path in (
        *PRODUCT,
        *(ROOT / "tests").rglob("*.py"),
        *(ROOT / "bench").rglob("*.py"),
        *(ROOT / "examples").rglob("*.py"),
    )
)
FUNCTION_LINES = 60
FILE_LINES = 400  # of the product; what proves it may be a little longer
TEST_FILE_LINES = 450
FORBIDDEN_NAMES = {"utils", "util", "helpers", "common", "base", "manager", "misc"}
CLOCKS_AND_CHANCE = {
    ("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("time", "time"), ("time", "monotonic"),
    ("os", "environ"), ("os", "getenv"), ("os", "urandom"), ("uuid", "uuid4"), ("uuid", "uuid1"),
    ("secrets", "token_bytes"), ("secrets", "token_urlsafe"), ("secrets", "token_hex"),
    ("random", "random"), ("random", "choice"), ("random", "randint"),
}  # fmt: skip
HOMES_OF_CLOCKS = ("gateway/", "ledger/postgres_store.py")


class Facts(NamedTuple):
    """What the rules are about in one file."""

    lines: int
    long: list[str]  # functions
    asserts: list[int]
    marks: list[str]
    reads: list[str]  # of clocks, chance and the environment
    docstring: str | None


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def facts(path: Path) -> Facts:
    text = path.read_text()
    tree = ast.parse(text)
    nodes = list(ast.walk(tree))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return Facts(
        lines=len(text.splitlines()),
        long=[f.name for f in functions if (f.end_lineno or 0) - f.lineno + 1 > FUNCTION_LINES],
        asserts=[node.lineno for node in nodes if isinstance(node, ast.Assert)],
        marks=re.findall(r"\b(TODO|FIXME|XXX|HACK|NotImplementedError)\b", text),
        reads=[
            f"{node.value.id}.{node.attr}:{node.lineno}"
            for node in nodes
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and (node.value.id, node.attr) in CLOCKS_AND_CHANCE
        ],
        docstring=ast.get_docstring(tree),
    )


def test_there_is_something_to_check():
    assert len(PRODUCT) > 30


def test_files_and_functions_stay_short():
    product = set(PRODUCT)
    limits = {path: FILE_LINES if path in product else TEST_FILE_LINES for path in EVERYTHING}
    assert {named(path): facts(path).lines for path, limit in limits.items() if facts(path).lines > limit} == {}
    assert {named(path): facts(path).long for path in EVERYTHING if facts(path).long} == {}


def test_product_code_has_no_bare_assert():
    found = {named(path): facts(path).asserts for path in PRODUCT if facts(path).asserts}
    assert not found, f"python -O would strip these laws: {found}"


def test_product_code_is_finished_and_its_names_say_something():
    assert {named(path): facts(path).marks for path in PRODUCT if facts(path).marks} == {}
    assert [named(path) for path in PRODUCT if path.stem in FORBIDDEN_NAMES] == []


def test_clocks_chance_and_environment_stay_in_their_homes():
    others = [path for path in PRODUCT if not named(path).startswith(HOMES_OF_CLOCKS)]
    assert {named(path): facts(path).reads for path in others if facts(path).reads} == {}


def test_every_module_says_what_it_owns():
    assert [named(path) for path in PRODUCT if path.name != "__init__.py" and not facts(path).docstring] == []


@pytest.mark.parametrize("path", sorted(ROOT.glob("requirements*.txt")), ids=named)
def test_locks_carry_hashes_and_no_addresses(path):
    text = path.read_text()
    assert "--hash=sha256:" in text
    assert not re.search(r"https?://|file:|--index-url|--extra-index-url|--find-links", text)


def test_what_the_guarantees_name_exists():
    text = (ROOT / "docs" / "guarantees.md").read_text()
    cited = set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text))
    assert len(cited) > 10
    for file, name in cited:
        path = ROOT / file
        assert path.exists(), f"docs/guarantees.md names {file}, which does not exist"
        assert not name or re.search(rf"def {name}\b", path.read_text()), f"{file} has no {name}"


def test_every_guarantee_of_the_design_has_its_row():
    text = (ROOT / "docs" / "guarantees.md").read_text()
    for number in range(1, 19):
        assert re.search(rf"\bI{number}\b", text), f"docs/guarantees.md says nothing about I{number}"
