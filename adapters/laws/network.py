"""The network of a worker process, in which the steps of a call are counted and a fault can wait at one of them.

The methods of Python's own socket are replaced, in this process only. Whatever speaks through them passes here: asyncio
and every library on top of it, and blocking clients. What a library does in C on descriptors of its own does not; a
call with such a library has no steps, and the verification says so.

Only connections that were opened by `connect` count: not the event loop's own, nor the pipes to whoever asks.
"""

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakSet

from adapters.laws.faults import Fault, Kind, Step

Hurt = Callable[[Kind], None]
"""What happens to the process itself: it is killed, stopped, or put to sleep."""

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
        self._dead: WeakSet[socket.socket] = WeakSet()
        self._late: WeakKeyDictionary[socket.socket, int] = WeakKeyDictionary()
        self._peek = socket.socket.recv
        self.steps: list[Step] = []
        self.fired = False

    def begin(self, fault: Fault | None) -> None:
        """Count anew, for a call that is given this fault."""
        self._fault = fault
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
                self._check(one)
                if self._waits_at(Step.SEND) is Kind.CUT:
                    self._cut(one)
            return really(one, *arguments)

        return send

    def _receiving(self, really: Callable[..., Any]) -> Callable[..., Any]:
        def receive(one: socket.socket, *arguments: Any) -> Any:
            if one not in self._connected:
                return really(one, *arguments)
            self._check(one)
            if self._is_late(one):
                raise BlockingIOError if one.gettimeout() == 0 else TimeoutError("timed out")
            received = really(one, *arguments)  # first, so that what counts as a step is an answer that is there
            if received and not self._late and self._waits_at(Step.RECEIVE) is Kind.CUT:
                self._cut(one)
            return received

        return receive

    def _is_late(self, one: socket.socket) -> bool:
        """Tell whether an answer that is there has not come yet: it comes after so many looks, all time-outs over."""
        if one in self._late:
            self._late[one] += 1
            time.sleep(_LOOK_SECONDS)
            if self._late[one] == _LOOKS:  # those of the adapter's own are over; now whoever called it gives up
                self._hurt(Kind.LATE)
            return self._late[one] < 2 * _LOOKS
        fault = self._fault
        if fault is None or fault.kind is not Kind.LATE or fault.at != len(self.steps) + 1:
            return False
        if not self._peek(one, 1, socket.MSG_PEEK):
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

    def _check(self, one: socket.socket) -> None:
        if one in self._dead:
            raise ConnectionResetError("the connection is gone")

    def _cut(self, one: socket.socket) -> None:
        self._dead.add(one)
        with suppress(OSError):  # the other side was quicker
            one.shutdown(socket.SHUT_RDWR)
        raise ConnectionResetError("the connection is gone")
