"""The peer: the same four durable steps as a DBOS workflow, run by the interpreter of `.venv-bench`.

An intent of two atomic actions is prepare, prepare, commit, commit; so the workflow is four no-op steps, each durable
before the next begins. It runs inside this process, without HTTP in front of it: what it does not do is in its favour.
Steps and workflow are plain functions called from threads: the first form in the documentation of DBOS, and the
fastest of those tried, or as fast (threads, coroutines, `start_workflow` with a handle).

Speaks the protocol of `gateway/load.py`.
"""

import argparse
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from dbos import DBOS

SETTINGS = {
    # as the documentation's first page has it
    "documented": {},
    # the fastest of the documented options that were tried on two cores: a pool of four connections (of 2, 4, 8, 20
    # and 64), no ping before each transaction, no log lines; LISTEN/NOTIFY on or off made no difference
    "best": {
        "sys_db_pool_size": 4,
        "db_engine_kwargs": {"pool_pre_ping": False},
        "log_level": "ERROR",
    },
}


@DBOS.step()
def prepare(action: str, amount: int) -> dict[str, object]:
    """Answer as an adapter does."""
    return {"hold": action, "amount": amount}


@DBOS.step()
def commit(action: str, amount: int) -> dict[str, object]:
    """Answer as an adapter does."""
    return {"account": action, "amount": amount}


@DBOS.workflow()
def refund(number: int) -> int:
    """Four durable steps."""
    prepare("refund", 4200)
    prepare("note", 1)
    commit("refund", 4200)
    commit("note", 1)
    return number


def run(in_flight: int, seconds: float) -> tuple[float, list[float]]:
    """Keep a number of workflows in flight; return the seconds until the last one ended, and all latencies."""
    latencies: list[float] = []
    begin = time.perf_counter()

    def worker(number: int) -> None:
        while (started := time.perf_counter()) < begin + seconds:
            refund(number)
            latencies.append(time.perf_counter() - started)

    with ThreadPoolExecutor(in_flight) as pool:
        list(pool.map(worker, range(in_flight)))
    return time.perf_counter() - begin, latencies


def main(arguments: argparse.Namespace) -> None:
    """Launch, warm up, say so, wait for the word, run, report."""
    DBOS(config={"name": "bench", "system_database_url": arguments.url, **SETTINGS[arguments.settings]})
    DBOS.launch()
    run(arguments.in_flight, arguments.warm_up)
    print("ready", flush=True)
    sys.stdin.readline()
    seconds, latencies = run(arguments.in_flight, arguments.seconds)
    print(json.dumps({"seconds": seconds, "latencies": latencies}), flush=True)
    sys.stdin.readline()
    os._exit(0)  # its own threads wait for a shutdown that nobody measures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--settings", choices=sorted(SETTINGS), required=True)
    parser.add_argument("--in-flight", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--warm-up", type=float, default=1.0)
    main(parser.parse_args())
