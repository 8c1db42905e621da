"""Points of the code at which a test may end or freeze this process. In production they cost one comparison each.

``$LOCUM_FAIL_POINT`` is ``POINT:COUNT:kill`` or ``POINT:COUNT:freeze``: what happens when that point is reached for the
COUNT-th time; or ``trace``: each point is told on stderr when it is first reached. Every write of ``Database`` has two:
``FUNCTION.before`` its commit, and ``FUNCTION.after`` it, when nobody has been told yet; FUNCTION is what it runs.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

VARIABLE = "LOCUM_FAIL_POINT"
_WHAT = {"kill": signal.SIGKILL, "freeze": signal.SIGSTOP}
_armed: Callable[[str], None] | None = None


def arm(order: str) -> None:
    """Obey ``order`` from now on; '' is the usual: all points do nothing. Once, at the process's start."""
    global _armed  # noqa: PLW0603 - the points are everywhere, and nobody could hand it to them all
    if not order:
        _armed = None
    elif order == "trace":
        _armed = _Trace()
    else:
        _armed = _Strike(order)


def reach(point: str) -> None:
    """The code has come to ``point``."""
    if _armed is not None:
        _armed(point)


def reach_write(function: Callable[..., Any], moment: str) -> None:
    """A write that runs ``function`` is at ``moment``: ``before`` or ``after`` its commit."""
    if _armed is not None:
        name = getattr(function, "__name__", type(function).__name__)
        _armed(f"{name.lstrip('_')}.{moment}")


class _Strike:
    def __init__(self, order: str) -> None:
        try:
            self._point, count, what = order.split(":")
            self._left, self._signal = int(count), _WHAT[what]
        except (ValueError, KeyError):
            raise ValueError(f"${VARIABLE} is {order!r}; write POINT:COUNT:kill, POINT:COUNT:freeze or trace") from None
        self._mutex = threading.Lock()

    def __call__(self, point: str) -> None:
        if point != self._point:
            return
        with self._mutex:
            self._left -= 1
            if self._left:
                return
        _tell(f"fail point {point}: {self._signal.name}")
        os.kill(os.getpid(), self._signal)


class _Trace:
    def __init__(self) -> None:
        self._told: set[str] = set()

    def __call__(self, point: str) -> None:
        if point not in self._told:
            self._told.add(point)
            _tell(f"fail point {point}")


def _tell(line: str) -> None:
    os.write(2, f"{line}\n".encode())  # not through a buffer, and not through the reactor: there may be no later
