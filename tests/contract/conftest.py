"""The stores that the contract is run over. Another one needs a fixture `<name>_store` and its name in STORES."""

import time

import pytest

from ledger.store import Store

STORES = ("postgres", "simulated")


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> Store:
    """A started store of an empty ledger."""
    return request.getfixturevalue(f"{request.param}_store")


@pytest.fixture
async def postgres_store(pool):
    from ledger.postgres_store import PostgresStore  # noqa: PLC0415  the other stores need no database

    started = PostgresStore(pool, "main")
    await started.start()
    yield started
    await started.stop()


@pytest.fixture
def simulated_store():
    from simulation.network import Network  # noqa: PLC0415  the other stores need no simulation
    from simulation.store import Database, SimulatedStore  # noqa: PLC0415

    return SimulatedStore(Database(time.monotonic), Network())
