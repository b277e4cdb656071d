"""localstripe, somebody else's Stripe, in a process of its own on the loopback: a referee for how objects live.

It is published under the GPL, so nothing of ours but this process imports it, and no product code ever. Left alone it
would listen on every interface and keep its objects in a file that others share; here it does neither. What it is no
referee for: it knows nothing of Idempotency-Key, takes what was let go, and ends a subscription twice.
"""

import atexit
import os
import signal
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path

from adapters.parent_death import signal_at_parent_death


@cache
def localstripe() -> str:
    """Start it, once for a test run; return its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "servers.localstripe"],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        preexec_fn=signal_at_parent_death(signal.SIGKILL),  # noqa: PLW1509 - nothing runs in it but that
    )
    atexit.register(process.kill)
    port = process.stdout.readline()
    process.stdout.close()
    assert port, "localstripe did not start; the tests need the package localstripe, which `make env-dev` installs."
    return f"http://127.0.0.1:{int(port)}"


def _serve() -> None:
    from aiohttp import web  # noqa: PLC0415 - only in the process of its own
    from localstripe import resources, server  # noqa: PLC0415

    resources.Store.dump_to_disk = lambda _: None
    listening = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    web.run_app(server.app, sock=listening, print=None, access_log=None)


if __name__ == "__main__":
    _serve()
