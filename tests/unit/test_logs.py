"""Logs: one JSON line an event, plain values only, nothing long, no local variables."""

import json
import logging

import pytest
import structlog

from gateway import logs


@pytest.fixture(autouse=True)
def restored():
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    logging.getLogger("asyncpg").setLevel(logging.NOTSET)
    structlog.reset_defaults()


@pytest.fixture
def written(capsys):
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_an_event_is_one_line_of_json_with_its_time_and_level(written):
    logs.configure("info", "auto")  # the stream is no terminal
    structlog.get_logger("x").info("worker_started", worker="w-1", attempts=2)
    (line,) = written()
    assert line.pop("at").endswith("Z")
    assert line == {"event": "worker_started", "level": "info", "worker": "w-1", "attempts": 2}


def test_below_the_level_nothing_is_written(written):
    logs.configure("warning", "json")
    structlog.get_logger("x").info("worker_started")
    assert written() == []


def test_a_payload_does_not_enter_a_log(written):
    logs.configure("info", "json")
    structlog.get_logger("x").info("called", params={"card": "4242"}, body=b"secret", things=["secret"])
    (line,) = written()
    assert (line["params"], line["body"], line["things"]) == ("<dict>", "<bytes>", "<list>")


def test_a_long_value_is_cut(written):
    logs.configure("info", "json")
    structlog.get_logger("x").info("called", reason="x" * 10_000)
    assert len(written()[0]["reason"]) == 501


def fail(password: str) -> None:
    raise ValueError(len(password))


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_traceback_shows_no_local_variables(capsys, form):
    logs.configure("info", form)
    try:
        fail("2retnuh"[::-1])
    except ValueError:
        structlog.get_logger("x").exception("defect")
    shown = capsys.readouterr().err
    assert "ValueError: 7" in shown
    assert "hunter2" not in shown


def test_what_libraries_warn_of_has_the_same_form(written):
    logs.configure("info", "json")
    logging.getLogger("aiohttp").warning("slow %s", "client")
    logging.getLogger("aiohttp").info("chatter")
    (line,) = written()
    assert (line["event"], line["level"]) == ("slow client", "warning")
