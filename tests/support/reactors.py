"""A real reactor for one test: a new one each, with threads and child processes, and nothing left behind."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from locum.db.database import HostClocks
from locum.master.surroundings import Pool, Surroundings
from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

T = TypeVar("T")
CLOCKS = HostClocks(lambda: time.time_ns() // 1000, lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000)


def run(step: Callable[[Surroundings], Awaitable[T]], bound_s: float = 30.0) -> T:
    """What ``await step(surroundings)`` gives, on a reactor of its own; an error of it is raised here."""
    reactor = EPollReactor()
    pool = ThreadPool(0, 8)

    def in_thread(function: Callable[..., Any], *args: Any, **kw: Any) -> Deferred[Any]:
        return deferToThreadPool(reactor, pool, function, *args, **kw)

    surroundings = Surroundings(reactor, CLOCKS, in_thread, lambda name, size: Pool(in_thread, lambda: None))
    answer: list[Any] = []

    def begin() -> None:
        pool.start()
        Deferred.fromCoroutine(step(surroundings)).addTimeout(bound_s, reactor).addBoth(over)

    def over(result: Any) -> None:
        answer.append(result)
        reactor.stop()

    reactor.callWhenRunning(begin)
    reactor.run()  # installs its own handlers of signals: it must hear of children that end
    pool.stop()
    if isinstance(answer[0], Failure):
        answer[0].raiseException()
    left: T = answer[0]
    return left


async def until(surroundings: Surroundings, true: Callable[[], Any], what: str, bound_s: float = 20.0) -> Any:
    """Wait, without blocking, until ``true()`` is."""
    end = surroundings.boottime() + bound_s
    while not (found := true()):
        if surroundings.boottime() > end:
            raise AssertionError(f"not within {bound_s} s: {what}")
        pause: Deferred[None] = Deferred()
        surroundings.reactor.callLater(0.01, pause.callback, None)
        await pause
    return found
