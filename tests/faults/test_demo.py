"""The demo tells the truth, ends by itself, can be interrupted, and leaves nothing behind."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from patience import until

from examples.demo.report import Holding

COMMAND = "from gateway.cli import main; main()"


async def play(directory: Path, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", COMMAND, "demo", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "TMPDIR": str(directory)},
    )


async def said(process: asyncio.subprocess.Process, words: str) -> str:
    """Read until the words were said; fails with everything that was said instead."""
    heard = ""
    async with asyncio.timeout(90):
        while words not in heard:
            line = (await process.stdout.readline()).decode()
            assert line, f"It ended without saying {words!r}:\n{heard}"
            heard += line
    return heard


def processes_below(directory: Path) -> list[str]:
    """Return the command lines of processes whose arguments, directory or settings name this directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            place = str((process / "cwd").readlink())
        except OSError:
            continue
        if int(process.name) != os.getpid() and (str(directory).encode() in words or place.startswith(str(directory))):
            found.append(f"{process.name} {words[:200]!r}")
    return found


async def test_the_demo_survives_its_crashes_and_says_so(open_directory):
    process = await play(open_directory)
    heard = await said(process, "Played in")
    assert await asyncio.wait_for(process.wait(), 60) == 0, heard
    assert heard.count("kill -9") == 2
    assert "Everything outside is what the ledger says" in heard
    agent = "Payment Specialist Agent v3.1, task 12A, commissioned by Manager X, under polic"
    assert f"{agent}y P-45: refund 42.00 USD of charge ch_93, committed" in heard
    assert f"{agent}ies P-45 and P-45-person: refund 120.00 USD of charge ch_94, committed" in heard
    assert "Dana approved: refund 120.00 USD of charge ch_94" in heard
    assert "under policy T1-remit: refund 120.00 USD of charge ch_95, denied" in heard
    assert f"{agent}ies P-45 and P-45-person: refund 120.00 USD of charge ch_96, aborted" in heard
    assert "\x1b[" not in heard, "There is no terminal here."
    assert "Operator, task 12A, under policy allow-all: refund 42.00 USD of charge ch_88" in heard
    assert (processes_below(open_directory), list(open_directory.iterdir())) == ([], [])


@pytest.mark.parametrize(("number", "moment"), [(signal.SIGINT, "kill -9"), (signal.SIGTERM, "Mailbox")])
async def test_an_interrupted_demo_leaves_nothing(open_directory, number, moment):
    process = await play(open_directory)
    await said(process, moment)
    process.send_signal(number)
    assert await asyncio.wait_for(process.wait(), 60) == 130
    assert (processes_below(open_directory), list(open_directory.iterdir())) == ([], [])


async def test_a_kept_demo_can_be_looked_at_until_it_is_interrupted(open_directory):
    process = await play(open_directory, "--keep")
    heard = await said(process, "the records outside")
    assert "/v1/audit" in heard
    (token_file,) = open_directory.glob("*/ledger/operator-main.token")
    assert str(token_file) in heard
    process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(process.wait(), 60) == 130
    assert (processes_below(open_directory), list(open_directory.iterdir())) == ([], [])


async def test_a_killed_demo_takes_its_processes_with_it(open_directory):
    process = await play(open_directory)
    await said(process, "kill -9")
    process.kill()
    await process.wait()
    await until(lambda: not processes_below(open_directory), 30, "its processes to end with it")


HONEST = Holding("i", "committed", "committed", "payments.refund", "done", 1, 0, "confirm")


@pytest.mark.parametrize(
    ("lie", "agrees"),
    [
        ({}, True),
        ({"effects": 0}, False),
        ({"effects": 2}, False),
        ({"undone": 1}, False),
        ({"step": "undone"}, False),
        ({"step": "undone", "undone": 1}, True),
        ({"step": "aborted"}, False),
        ({"step": "aborted", "effects": 0}, True),
        ({"wanted_phase": "compensated"}, False),
    ],
)
def test_a_difference_is_called_one(lie, agrees):
    assert HONEST._replace(**lie).agrees is agrees
