"""stripe-stateful-mock, somebody else's Stripe, in a process of its own on the loopback: a referee for idempotency.

It has charges and refunds of them, no payments, and its own program would listen on every interface.
"""

import atexit
import signal
import subprocess
from functools import cache

from servers.node import program

from adapters.parent_death import signal_at_parent_death

_SERVE = """
require("loglevel").setDefaultLevel("silent");
const server = require("stripe-stateful-mock").createExpressApp().listen(0, "127.0.0.1", () => {
    console.log(server.address().port);
});
"""


@cache
def stripe_stateful_mock() -> str:
    """Start it, once for a test run; return its address."""
    process = subprocess.Popen(
        ["node", "-e", _SERVE],
        cwd=program("stripe-stateful-mock").parents[2],
        stdout=subprocess.PIPE,
        preexec_fn=signal_at_parent_death(signal.SIGKILL),  # noqa: PLW1509 - nothing runs in it but that
    )
    atexit.register(process.kill)
    port = process.stdout.readline()
    process.stdout.close()
    assert port, "stripe-stateful-mock did not start; what it said stands above."
    return f"http://127.0.0.1:{int(port)}"
