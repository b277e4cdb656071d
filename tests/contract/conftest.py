"""The stores that the contract is run over. Another one needs a fixture `<name>_store` and its name in STORES."""

import time
from datetime import datetime

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


@pytest.fixture
def set_time(request, store):
    """`await set_time(moment)` stops the ledger's time at a moment of the far future."""

    async def on_postgres(moment: datetime) -> None:
        pool = request.getfixturevalue("pool")  # a ledger's time never goes back, so it stands where it was put
        await pool.execute("update intent_ledger.heads set at = $1", moment)

    async def on_simulated(moment: datetime) -> None:
        from simulation.store import EPOCH_OF_TIME  # noqa: PLC0415

        store._database.time = (moment - EPOCH_OF_TIME).total_seconds

    return on_simulated if hasattr(store, "_database") else on_postgres


@pytest.fixture
def outbox(request, store):
    """`await outbox()` lists the positions of what is to be told."""

    async def on_postgres() -> list[int]:
        rows = await request.getfixturevalue("pool").fetch(
            "select position from intent_ledger.outbox order by position"
        )
        return [row["position"] for row in rows]

    async def on_simulated() -> list[int]:
        return sorted(store._database.inline.outbox)

    return on_simulated if hasattr(store, "_database") else on_postgres
