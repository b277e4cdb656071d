"""The benchmark of the record over a ledger as small as can be: every step, and that the ledger is used again."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec

from bench.record.__main__ import made

ROOT = Path(__file__).parents[2]


async def test_the_record_is_measured_and_the_ledger_is_kept(open_directory, tmp_path):
    home, page = open_directory / "ledger", tmp_path / "page.md"
    page.write_text("before\n<!-- record: begin -->\nold\n<!-- record: end -->\nafter\n")
    small = ("--events", "2000", "--pages", "20", "--seconds", "0.1")
    where = ("--directory", home, "--results", tmp_path, "--page", page)
    command = [sys.executable, "-m", "bench.record", *small, *where]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)  # noqa: ASYNC221
    assert ran.returncode in {0, 1}, ran.stderr  # of so small a ledger no rate says anything
    assert "Written to" in ran.stdout, ran.stderr
    (found,) = [json.loads(one.read_text()) for one in tmp_path.glob("record-*.json")]
    read_whole = [one["name"] for one in found["steps"] if one["found"].get("events") == found["events"]]
    assert len(read_whole) == 7, read_whole
    assert next(one for one in found["steps"] if "swap" in one["name"])["found"]["forged"]
    assert page.read_text().startswith("before\n<!-- record: begin -->\nMeasured on ")
    assert page.read_text().endswith("<!-- record: end -->\nafter\n")
    again = await made(None, home, 2000)  # with nothing to make it by
    assert msgspec.to_builtins(again) == found["making"]
