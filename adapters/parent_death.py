"""Children that do not outlive us: what a new process asks of the kernel before its program begins."""

import ctypes
import os
import signal
from collections.abc import Callable
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_libc: Final = ctypes.CDLL(None, use_errno=True)


def signal_at_parent_death(number: signal.Signals) -> Callable[[], None]:
    """Return what a new child runs before its program, so that the kernel tells it when we are gone.

    It is told when the *thread* that started it ends.
    """
    parent = os.getpid()

    def before_exec() -> None:
        if _libc.prctl(_PR_SET_PDEATHSIG, int(number)) != 0 or os.getppid() != parent:
            os._exit(126)  # we cannot be told, or it has happened already

    return before_exec
