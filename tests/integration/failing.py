"""A process in which one operation fails: on files below one directory, on the database, or over HTTP.

A run is given the operation to fail as (phase, name, which time in that phase) and the way in which it fails:

    refused   an error, and nothing was done
    lost      it was done, and then an error
    crash     it was done, and then the whole process ended: nothing of it does anything any more

A file that is written is torn by `refused` and `crash`: half of it is there. What changes nothing is only refused: to
lose its answer is the same, and a crash behind it is the crash behind what came before.
"""

import errno
import io
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple, Self

import aiohttp
import asyncpg

import sql
from ledger.errors import InDoubt
from ledger.log.signed_note import SigningKey

_WAYS = ("refused", "lost", "crash")
_CHANGES = re.compile(
    r"(write|replace|link|rename) |sql log\.(keep|extend|cosign|end_|let_go)|bucket write|witness POST"
).match
_FAR = re.compile(r"sql |bucket |witness ").match  # fails at two times of each phase, files at one

_QUERIES = {sql.query(name): name for name in sql.names()}
_run: ContextVar["Run | None"] = ContextVar("run", default=None)


class Crash(BaseException):
    """The process has ended."""


class Fault(NamedTuple):
    phase: str
    name: str
    time: int
    way: str


class Run:
    """What happens in one run, and what of it fails."""

    def __init__(self, home: Path, fault: Fault | None = None) -> None:
        self.home, self.fault = home, fault
        self.phase, self.dead, self.fired = "", False, False
        self.seen: Counter[tuple[str, str]] = Counter()
        self.signed: list[str] = []  # the text of every note
        self._lock = threading.Lock()

    def way(self, name: str) -> str | None:
        """Return in which way this operation fails; None: it does not."""
        with self._lock:
            if self.dead:
                raise Crash
            self.seen[self.phase, name] += 1
            fault = self.fault
            if self.fired or fault is None or fault[:3] != (self.phase, name, self.seen[self.phase, name]):
                return None
            self.fired = True
            return fault.way

    def end(self) -> Crash:
        self.dead = True
        return Crash()

    def enter(self) -> None:
        """Let what this task does from now on be the process's."""
        _run.set(self)

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Look at what the process has done, without being a part of it."""
        token = _run.set(None)
        try:
            yield
        finally:
            _run.reset(token)


def faults_of(run: Run) -> list[Fault]:
    """Return every fault that a run like this can meet."""
    return [
        Fault(phase, name, time, way)
        for (phase, name), times in run.seen.items()
        for time in range(1, min(times, 2 if _CHANGES(name) and _FAR(name) else 1) + 1)
        for way in (_WAYS if _CHANGES(name) else _WAYS[:1])
    ]


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _about(home: Path, where: Any) -> str | None:
    """Return the name of a file of the run, the same in every run; None: it is none of its files."""
    path = str(Path(f"/proc/self/fd/{where}").readlink()) if isinstance(where, int) else os.fspath(where)
    if not isinstance(path, str) or not path.startswith(f"{home}/"):
        return None
    return ".".join(part for part in path.removeprefix(f"{home}/").split(".") if not part.isdigit())


def _of_file(run: Run, name: str, do: Callable[..., Any], *given: Any, **more: Any) -> Any:
    way = run.way(name)
    error = OSError(errno.EIO, os.strerror(errno.EIO))
    if way == "refused":
        raise error
    done = do(*given, **more)
    if way is None:
        return done
    if name.startswith("open "):
        done.close() if hasattr(done, "close") else os.close(done)
    raise run.end() if way == "crash" else error


class _Torn(io.TextIOWrapper):
    """A file of which one write comes to half."""

    run: Run
    about: str

    def write(self, text: str) -> int:
        way = self.run.way(f"write {self.about}")
        if way is None:
            return super().write(text)
        super().write(text if way == "lost" else text[: len(text) // 2])
        super().flush()
        raise self.run.end() if way == "crash" else OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fail_files(monkeypatch: Any) -> None:
    """Let the files of runs fail; others, and what reads them with `open` itself, are left alone."""

    def failing(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **more: Any) -> Any:
            run = _run.get()
            about = _about(run.home, given[0]) if run is not None else None
            return real(*given, **more) if about is None else _of_file(run, f"{name} {about}", real, *given, **more)

        return call

    def fdopen(handle: int, mode: str = "r", *given: Any, **more: Any) -> Any:
        run = _run.get()
        about = _about(run.home, handle) if run is not None and mode == "w" else None
        if about is None:
            return real_fdopen(handle, mode, *given, **more)
        torn = _Torn(io.FileIO(handle, "w"), **more)
        torn.run, torn.about = run, about
        return torn

    real_fdopen = os.fdopen
    for name in ("open", "fsync", "rename", "replace", "link", "unlink", "mkdir"):
        monkeypatch.setattr(os, name, failing(name, getattr(os, name)))
    monkeypatch.setattr(io, "open", failing("open", io.open))
    monkeypatch.setattr(os, "fdopen", fdopen)


# ── the database ─────────────────────────────────────────────────────────────────────────────────────────────────


class Failing(asyncpg.Connection):
    """A connection of whichever run is the current one where it is used."""

    __slots__ = ()

    async def _failing(self, query: str, do: Callable[..., Any], given: Any, more: Any) -> Any:
        run = _run.get()
        way = run.way(f"sql {_QUERIES.get(query, 'other')}") if run is not None else None
        if way == "refused":  # the connection broke
            self.terminate()
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
        done = await do(self, query, *given, **more)
        if way is None:
            return done
        raise run.end() if way == "crash" else TimeoutError  # the answer was late, and the connection lives

    async def fetch(self, query, *given, **more):
        return await self._failing(query, asyncpg.Connection.fetch, given, more)

    async def fetchrow(self, query, *given, **more):
        return await self._failing(query, asyncpg.Connection.fetchrow, given, more)

    async def fetchval(self, query, *given, **more):
        return await self._failing(query, asyncpg.Connection.fetchval, given, more)

    async def execute(self, query, *given, **more):
        return await self._failing(query, asyncpg.Connection.execute, given, more)


def fail_database(monkeypatch: Any) -> None:
    """Let the connections fail that are made from now on, within runs."""

    def failing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **more: Any) -> Any:
            return real(*given, **more, **({"connection_class": Failing} if _run.get() is not None else {}))

        return call

    monkeypatch.setattr(asyncpg, "create_pool", failing(asyncpg.create_pool))
    monkeypatch.setattr(asyncpg, "connect", failing(asyncpg.connect))


# ── what is signed ───────────────────────────────────────────────────────────────────────────────────────────────


def note_what_is_signed(monkeypatch: Any) -> None:
    def noting(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: SigningKey, text: str, *given: Any) -> Any:
            run = _run.get()
            if run is not None:
                run.signed.append(text)
            return real(self, text, *given)

        return call

    for name in ("sign", "cosign"):
        monkeypatch.setattr(SigningKey, name, noting(getattr(SigningKey, name)))


# ── over HTTP ────────────────────────────────────────────────────────────────────────────────────────────────────


class Session:
    """What a log asks its witnesses with."""

    def __init__(self, run: Run) -> None:
        self._run = run

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    @asynccontextmanager
    async def request(self, method: str, *given: Any, **more: Any) -> Any:
        way = self._run.way(f"witness {method}")
        if way == "refused":
            raise aiohttp.ClientConnectionError
        async with self._session.request(method, *given, **more) as answer:
            if way is not None:
                raise self._run.end() if way == "crash" else aiohttp.ServerDisconnectedError
            yield answer


class Bucket:
    """A bucket with conditional writes, whose objects outlive the process."""

    def __init__(self, run: Run, objects: dict[str, tuple[bytes, str]]) -> None:
        self._run, self._objects = run, objects

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def read(self, key: str) -> tuple[bytes, str] | None:
        return self._failing("bucket read", lambda: self._objects.get(key))

    async def write(self, key: str, data: bytes, over: str | None) -> str | None:
        return self._failing("bucket write", lambda: self._written(key, data, over))

    def _written(self, key: str, data: bytes, over: str | None) -> str | None:
        standing = self._objects.get(key)
        if (standing[1] if standing else None) != over:
            return None
        etag = f"{len(data)}-{hash(data)}"
        self._objects[key] = (data, etag)
        return etag

    def _failing(self, name: str, do: Callable[[], Any]) -> Any:
        way = self._run.way(name)
        if way == "refused":
            raise InDoubt("The store gave no whole answer.")
        done = do()
        if way is None:
            return done
        raise self._run.end() if way == "crash" else InDoubt("The store gave no whole answer.")
