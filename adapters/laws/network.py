"""The network of a worker process, in which the steps of a call are counted and a fault can wait at one of them.

The methods of Python's own socket are replaced, in this process only, and what asyncio does with pipes to children of
its own. Whatever speaks through them passes here: asyncio and every library on top of it, and blocking clients. What a
library does in C on descriptors of its own does not; a call with such a library has no steps, and the verification
says so.

Of sockets only those count that were opened by `connect`: not the event loop's own.
"""

import asyncio.unix_events
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final
from weakref import WeakSet

from adapters.laws.faults import Fault, Kind, Step

Hurt = Callable[[Kind], None]
"""What happens to the process itself: it is killed, stopped, or put to sleep."""

Way = socket.socket | int
"""A connection, or a descriptor of a pipe."""

_RECEIVING: Final = ("recv", "recv_into")
_LOOKS: Final = 10
_LOOK_SECONDS: Final = 0.002
_SENDING: Final = ("send", "sendall", "sendmsg")


class Network:
    """Counts the steps of the present call and lets its fault happen."""

    def __init__(self, hurt: Hurt) -> None:
        """Begin without a fault; `hurt` does to this process what a fault asks for."""
        self._hurt = hurt
        self._fault: Fault | None = None
        self._connected: WeakSet[socket.socket] = WeakSet()
        self._dead: set[Way] = set()
        self._late: dict[Way, int] = {}  # how often somebody has looked
        self._peek = socket.socket.recv
        self.steps: list[Step] = []
        self.fired = False

    def begin(self, fault: Fault | None) -> None:
        """Count anew, for a call that is given this fault."""
        self._fault = fault
        self._dead.clear()
        self._late.clear()
        self.steps = []
        self.fired = False

    def reach(self, place: int) -> None:
        """Let the fault happen that waits before the call, or after it."""
        if self._fault is not None and self._fault.at == place:
            self.fired = True
            self._hurt(self._fault.kind)

    def install(self) -> None:
        """Put this network under every socket of the process, for good."""
        replaced: Any = socket.socket
        for name in ("connect", "connect_ex"):
            setattr(replaced, name, self._connecting(getattr(socket.socket, name)))
        for name in _SENDING:
            setattr(replaced, name, self._sending(getattr(socket.socket, name)))
        for name in _RECEIVING:
            setattr(replaced, name, self._receiving(getattr(socket.socket, name)))
        piping: Any = asyncio.unix_events
        piping.os = _Pipes(self)

    def _connecting(self, really: Callable[..., Any]) -> Callable[..., Any]:
        def connect(one: socket.socket, *arguments: Any) -> Any:
            if self._waits_at(Step.CONNECT) is Kind.CUT:
                raise ConnectionRefusedError("there is no network now")
            self._connected.add(one)
            return really(one, *arguments)

        return connect

    def _sending(self, really: Callable[..., Any]) -> Callable[..., Any]:
        def send(one: socket.socket, *arguments: Any) -> Any:
            if one in self._connected:
                self.sends(one)
            return really(one, *arguments)

        return send

    def _receiving(self, really: Callable[..., Any]) -> Callable[..., Any]:
        def receive(one: socket.socket, *arguments: Any) -> Any:
            if one not in self._connected:
                return really(one, *arguments)
            if self.is_late(one, lambda: bool(self._peek(one, 1, socket.MSG_PEEK))):
                raise BlockingIOError if one.gettimeout() == 0 else TimeoutError("timed out")
            received = really(one, *arguments)  # first, so that what counts as a step is an answer that is there
            self.received(one, received)
            return received

        return receive

    def sends(self, one: Way) -> None:
        """Count what leaves on a way, unless its fault comes first."""
        self._check(one)
        if self._waits_at(Step.SEND) is Kind.CUT:
            self._cut(one)

    def received(self, one: Way, answer: object) -> None:
        """Count an answer that has come on a way, unless its fault comes first."""
        if answer and one not in self._late and self._waits_at(Step.RECEIVE) is Kind.CUT:
            self._cut(one)

    def is_late(self, one: Way, is_there: Callable[[], bool]) -> bool:
        """Tell whether an answer that is there has not come yet: it comes after so many looks, all time-outs over."""
        self._check(one)
        if one in self._late:
            self._late[one] += 1
            time.sleep(_LOOK_SECONDS)
            if self._late[one] == _LOOKS:  # those of the adapter's own are over; now whoever called it gives up
                self._hurt(Kind.LATE)
            return self._late[one] < 2 * _LOOKS
        fault = self._fault
        if fault is None or fault.kind is not Kind.LATE or fault.at != len(self.steps) + 1:
            return False
        if not is_there():
            return False
        self._late[one] = 0
        self._waits_at(Step.RECEIVE)
        return True

    def _waits_at(self, step: Step) -> Kind | None:
        """Count a step; return the fault that waits there, having done to the process what it asks for."""
        self.steps.append(step)
        if self._fault is None or self._fault.at != len(self.steps):
            return None
        self.fired = True
        if self._fault.kind is not Kind.CUT:
            self._hurt(self._fault.kind)
        return self._fault.kind

    def _check(self, one: Way) -> None:
        if one in self._dead:
            raise ConnectionResetError("the connection is gone")

    def _cut(self, one: Way) -> None:
        self._dead.add(one)
        if isinstance(one, socket.socket):
            with suppress(OSError):  # the other side was quicker
                one.shutdown(socket.SHUT_RDWR)
        raise ConnectionResetError("the connection is gone")


class _Pipes:
    """What asyncio's module for pipes knows as `os`, once a network is installed."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def write(self, pipe: int, data: bytes) -> int:
        self._network.sends(pipe)
        return os.write(pipe, data)

    def read(self, pipe: int, size: int) -> bytes:
        if self._network.is_late(pipe, lambda: True):
            raise BlockingIOError
        answer = os.read(pipe, size)
        self._network.received(pipe, answer)
        return answer
