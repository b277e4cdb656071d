"""Run the warehouse: `python -m examples.inventory --dsn postgresql://…` or `--dsn mysql://…`.

The first line said is {"port": N}. It serves on 127.0.0.1 until standard input closes. Needs `intentledger-fence`.
"""

import argparse
import asyncio
import json
import sys

from examples.inventory.service import app
from examples.service import listen


async def serve(dsn: str, port: int, goods: list[str]) -> None:
    """Serve the warehouse of this database; `goods` are what is put into an empty one, like "bolt=100"."""
    if dsn.startswith("mysql:"):
        from examples.inventory.on_mariadb import MariaWarehouse as Kind  # noqa: PLC0415 - its driver may be missing
    else:
        from examples.inventory.on_postgres import PostgresWarehouse as Kind  # type: ignore[assignment]  # noqa: PLC0415
    warehouse = await Kind.open(dsn)
    for one in goods:
        sku, _, on_hand = one.partition("=")
        await warehouse.stock(sku, int(on_hand))
    runner, at = await listen(app(warehouse), port)
    print(json.dumps({"port": at}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()
    await warehouse.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A warehouse with a fence of its own.")
    parser.add_argument("--dsn", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--goods", nargs="*", default=[], help='what an empty warehouse begins with, like "bolt=100"')
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.dsn, arguments.port, arguments.goods))
