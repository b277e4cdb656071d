"""What the tests of the door and of the log share: a service of its own for each, and a log of its own."""

import pytest
from doorway import doorway
from kept_log import Kept

from ledger import bounds


@pytest.fixture
async def door(dsn):
    """The door of a service on a fresh database, as its operator; see `doorway.py`."""
    async with doorway(dsn) as opened:
        yield opened


@pytest.fixture
def impatient_log(monkeypatch):
    """Make checkpoints at once."""
    for name, seconds in {"LOG_SECONDS": 0.02, "LOG_POLL_SECONDS": 0.01, "LOG_IDLE_SECONDS": 0.02}.items():
        monkeypatch.setattr(bounds, name, seconds)
    monkeypatch.setattr(bounds, "LOG_RETRY_SECONDS", 0.05)


@pytest.fixture
async def kept(dsn, pool, store, tmp_path, impatient_log):
    """A ledger and the keeper of its log, not begun."""
    made = Kept(dsn, pool, store, tmp_path / "log")
    yield made
    await made.keeper.stop()
