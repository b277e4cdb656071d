"""What the tests of the door share: a service of its own for each of them, over HTTP."""

import pytest
from doorway import doorway


@pytest.fixture
async def door(dsn):
    """The door of a service on a fresh database, as its operator; see `doorway.py`."""
    async with doorway(dsn) as opened:
        yield opened
