"""The command that runs a witness. Rules as in `cli.py`; it needs neither a database nor the service."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from gateway.command import OK, Json, answer, run, verifier_keys


def witness(
    *,
    name: str,
    data: Path,
    log: Sequence[str],
    host: str = "127.0.0.1",
    port: int = 8_701,
    json: Json = False,
) -> int:
    """Run a witness: it cosigns a log's checkpoints while each goes on from the one before, and refuses a fork.

    Run it where the log's owner cannot reach it.

    Parameters
    ----------
    name
        What the witness is called, as a URL without its scheme (witness.example/w1).
    data
        Its own directory: its key and the last checkpoint of each log.
    log
        The verifier key of a log to witness, as `intentledger log keys` shows it; may be repeated.
    host
        The address to listen on.
    port
        The port to listen on; 0 takes any free one.
    """
    import secrets  # noqa: PLC0415

    from gateway import logs  # noqa: PLC0415
    from gateway.app import stop_on_signals  # noqa: PLC0415
    from gateway.witness import Witness, logs_of, witnessing  # noqa: PLC0415
    from gateway.witness_shelf import shelf  # noqa: PLC0415

    logs.configure("info", "auto")
    witnessed = logs_of(verifier_keys("--log", log, "Nothing was started."))

    async def main() -> None:
        stop = asyncio.Event()
        stop_on_signals(stop)
        with shelf(data, name, secrets.token_bytes) as opened:
            async with witnessing(Witness(opened, witnessed), host, port) as url:
                key = str(opened.key.verifier)
                words = f"The witness {name} cosigns checkpoints of {', '.join(witnessed)} at {url}\nIts key: {key}"
                answer({"url": url, "key": key, "logs": list(witnessed)}, words, json)
                await stop.wait()

    run(main())
    return OK
