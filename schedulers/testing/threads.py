"""The reactor as schedulers' code finds it under test: its time is the harness's, its threads are real and waited for."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from twisted.python.failure import Failure

from .errors import ThreadUnfinished


class ReactorUnderTest:
    """``callLater`` and ``seconds`` go to ``planning()``, the reactor of the master that is up; all that is planned dies
    with it, as in a process. ``deferToThread`` and its like run in threads, whose answers ``collect`` brings."""

    def __init__(self, planning: Callable[[], Any], thread_timeout_s: float) -> None:
        self._planning = planning
        self._timeout_s = thread_timeout_s
        self._planned: WeakSet[Any] = WeakSet()
        self._answers: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._running: dict[int, str] = {}

    # -- as a reactor ---------------------------------------------------------------------------------------------

    def callLater(self, seconds: float, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """In the harness's time."""
        call = self._planning().callLater(seconds, function, *args, **kwargs)
        self._planned.add(call)
        return call

    def seconds(self) -> float:
        """The harness's time."""
        found: float = self._planning().seconds()
        return found

    def callFromThread(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """As soon as the harness comes round."""
        self._answers.put(lambda: function(*args, **kwargs))

    def callInThread(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """In a thread of its own."""
        self.callInThreadWithCallback(None, function, *args, **kwargs)

    def getThreadPool(self) -> ReactorUnderTest:
        """This is one as well."""
        return self

    def callInThreadWithCallback(
        self, on_result: Callable[[bool, Any], object] | None, function: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> None:
        """As a thread pool does, but the answer waits until the harness comes round."""

        def work() -> None:
            try:
                ok, result = True, function(*args, **kwargs)
            except BaseException:
                ok, result = False, Failure()  # type: ignore[no-untyped-call]
            self._answers.put(lambda: self._done(number, on_result, ok, result))

        number = max(self._running, default=0) + 1
        self._running[number] = getattr(function, "__qualname__", repr(function))
        threading.Thread(target=work, name=f"scheduler under test: {self._running[number]}", daemon=True).start()

    def _done(self, number: int, on_result: Callable[[bool, Any], object] | None, ok: bool, result: Any) -> None:
        self._running.pop(number, None)
        if on_result is not None:
            on_result(ok, result)

    # -- for the harness ------------------------------------------------------------------------------------------

    @property
    def planned(self) -> bool:
        """Whether schedulers' code has planned something that is still to come."""
        return any(call.active() for call in self._planned)

    def collect(self) -> bool:
        """Wait until no thread runs, and bring the answers. False: there was nothing. ThreadUnfinished."""
        if not self._running and self._answers.empty():
            return False
        try:
            self._answers.get(timeout=self._timeout_s)()
        except queue.Empty:
            names = ", ".join(sorted(set(self._running.values())))
            self._running.clear()
            raise ThreadUnfinished(
                f"{names}, in a thread, has not come to an end within {self._timeout_s:g} s; let the test replace what it"
                " waits for, or give SchedulerHarness(..., thread_timeout_s=...) more"
            ) from None
        return True
