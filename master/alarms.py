"""When the next timer of an active scheduler falls due: one heap, one delayed call."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any, Protocol

from .clock import DatabaseClock

SLICE = 200
LONGEST_S = 60.0


class Sleeper(Protocol):
    """A tenure, or something that belongs to one."""

    def timer_due(self, key: str, due: int) -> None:
        """That time has come."""


class Alarms:
    """Tells tenures when a timer of theirs is due, by the database's clock. An alarm that was moved since is nobody's.

    It never sleeps longer than ``longest_s``: a corrected clock must not leave a timer behind. While ``is_full()`` it wakes
    nobody: what is due can wait here for a few bytes, and as a turn that is not committed yet it would take kilobytes.
    Whoever says that it is full says ``go_on`` when it may have room again.
    """

    def __init__(
        self,
        reactor: Any,
        clock: DatabaseClock,
        longest_s: float = LONGEST_S,
        is_full: Callable[[], bool] = lambda: False,
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._longest_s = longest_s
        self._is_full = is_full
        self._heap: list[tuple[int, int, Sleeper, str]] = []
        self._count = 0
        self._call: Any = None
        self._call_due = 0
        self._stopped = False
        self._ringing = False
        """then what is set is looked at once, when all have been told"""
        self._waits_for_room = False

    def set(self, sleeper: Sleeper, key: str, due: int) -> None:
        """Wake ``sleeper`` for its timer ``key`` at ``due``."""
        self._count += 1
        heapq.heappush(self._heap, (due, self._count, sleeper, key))
        if not self._ringing and (self._call is None or due < self._call_due):
            self._arm()

    def rearm(self) -> None:
        """The clock has been corrected."""
        self._arm()

    def go_on(self) -> None:
        """There may be room again."""
        if self._waits_for_room:
            self._waits_for_room = False
            self._arm()

    def stop(self) -> None:
        """Wake nobody any more."""
        self._stopped = True
        self._heap.clear()
        self._cancel()

    def _cancel(self) -> None:
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None

    def _arm(self) -> None:
        self._cancel()
        if not self._heap or self._stopped or self._waits_for_room:
            return
        self._call_due = self._heap[0][0]
        delay = min(self._longest_s, max(0.0, (self._call_due - self._clock.now()) / 1e6))
        self._call = self._reactor.callLater(delay, self._ring)

    def _ring(self) -> None:
        self._call = None
        now = self._clock.now()
        rung = 0
        self._ringing = True
        try:
            while self._heap and self._heap[0][0] <= now and rung < SLICE and not self._waits_for_room:
                due, _, sleeper, key = heapq.heappop(self._heap)
                sleeper.timer_due(key, due)
                rung += 1
                self._waits_for_room = self._is_full()
        finally:
            self._ringing = False
            self._arm()
