"""Whether the machine itself lets anybody be in time: written down, so that bounds of time are judged only where it does.

A master is a few threads among all that runs on a machine. If a bit of work takes many times as long as the processor
works on it, a late answer says nothing about the product, and a heartbeat that comes too late is the machine's fault.
"""

from __future__ import annotations

import hashlib
import threading
import time

from .history import FaultBegan, FaultEnded, History, now

FAULT = "machine-busy"
EVERY_S = 0.25
SLOW_S = 0.25
"""A piece of work that needs some hundredths of a second of the processor and takes longer than that was not let to work."""
LINGER_S = 3.0
"""So long must it be well again before it counts as well."""
_WORK = bytes(20_000_000)


class Machine:
    """Looks all the while, in a thread of its own."""

    def __init__(self, faults: History) -> None:
        self._faults = faults
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="machine")

    def begin(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Legal before it began, and twice."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        number, since, last_slow = 0, None, 0.0
        while not self._over.wait(EVERY_S):
            asked, took = now(), _probe()
            if took > SLOW_S:
                last_slow = time.monotonic()
                if since is None:
                    number, since = number + 1, time.monotonic() - took
                    self._faults.add(FaultBegan(asked, -number, FAULT, "machine", {"took": round(took, 3)}))
            elif since is not None and time.monotonic() - last_slow > LINGER_S:
                self._ended(number, since)
                since = None
        if since is not None:
            self._ended(number, since)

    def _ended(self, number: int, since: float) -> None:
        seconds = time.monotonic() - since
        self._faults.add(FaultEnded(now(), -number, FAULT, "machine", {"seconds": round(seconds, 3)}))


def _probe() -> float:
    """Seconds that a piece of work took, which holds no lock of this process meanwhile."""
    asked = time.perf_counter()
    hashlib.sha256(_WORK)
    return time.perf_counter() - asked
