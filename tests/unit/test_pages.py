"""Every page links to what there is: files, and headings within them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    (
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "fence").rglob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
    )
)
LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)").findall
BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def links(page):
    return [target for target in LINK(BLOCK.sub("", page.read_text())) if "://" not in target]


def anchors(page):
    """Name the headings of a page as GitHub does."""
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", page.read_text()), re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    for target in links(page):
        file, _, anchor = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        assert there.exists(), f"{target} is not there"
        if anchor:
            assert anchor in anchors(there), f"{target}: there is no such heading"


def test_there_are_links():
    assert sum(len(links(page)) for page in PAGES) > 50
