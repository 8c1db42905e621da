"""The one repeated step of this program. Nothing else calls ``callLater`` in a circle or uses ``LoopingCall``."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed

from .logs import Log


class Loop:
    """Await ``step()`` every ``interval_s`` seconds, and at once when asked. A step that fails is logged; the next still runs.

    After a step that failed the pause is ``retry_s``, if that is given. Steps never overlap. ``soon()`` while a step runs makes one more follow it. ``stop()`` gives a Deferred that fires
    once no step is running; legal before ``start()``, and twice.
    """

    log = Log()

    def __init__(
        self,
        reactor: Any,
        step: Callable[[], Awaitable[None]],
        interval_s: float,
        name: str,
        first_s: float = 0.0,
        retry_s: float | None = None,
    ) -> None:
        self._reactor = reactor
        self._step = step
        self.interval_s = interval_s
        self.name = name
        self._first_s = first_s
        self._retry_s = retry_s
        self._failed = False
        self._call: Any = None
        self._running = False
        self._again = False
        self._stopped = True
        self._waiting: list[Deferred[None]] = []

    def start(self) -> None:
        """Run the first step ``first_s`` seconds from now."""
        if self._stopped:
            self._stopped = False
            if not self._running:
                self._later(self._first_s)

    def soon(self) -> None:
        """Run a step now, or right after the one that is running."""
        if self._stopped:
            return
        if self._running:
            self._again = True
        else:
            self._later(0)

    def stop(self) -> Deferred[None]:
        """No further step; the Deferred fires when the one that is running, if any, has ended."""
        self._stopped = True
        self._again = False
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        if not self._running:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def _later(self, seconds: float) -> None:
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = self._reactor.callLater(seconds, self._run)

    def _run(self) -> None:
        self._call = None
        self._running = True
        self._again = False
        Deferred.fromCoroutine(self._one_step()).addBoth(self._ended)

    async def _one_step(self) -> None:
        self._failed = False
        try:
            await self._step()
        except Exception as error:  # whatever it is, the loop must live on
            self._failed = True
            self.log.error("{name}: {error}; next try in {s} s", name=self.name, error=error, s=self._pause_s)
            self.log.debug("{trace}", trace=traceback.format_exc())

    @property
    def _pause_s(self) -> float:
        return self._retry_s if self._failed and self._retry_s is not None else self.interval_s

    def _ended(self, _: object) -> None:
        self._running = False
        if not self._stopped:
            self._later(0 if self._again else self._pause_s)
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            deferred.callback(None)
