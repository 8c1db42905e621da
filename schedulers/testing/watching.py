"""What a test hears of schedulers' code while it runs: what it logs, what it raises, what it forgets to await."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

from twisted.logger import formatEvent, globalLogPublisher
from twisted.python.failure import Failure

from ...master.borrowed_reactor import borrowed_reactor
from .errors import HarnessError, HookFailed, NotAwaited
from .threads import ReactorUnderTest


class Watch:
    """Collects while ``around()`` is entered; ``tell()`` raises what the test did not expect."""

    def __init__(self, reactor: ReactorUnderTest) -> None:
        self.log: list[str] = []
        self._reactor = reactor
        self._errors: list[tuple[str, BaseException]] = []
        self._expected: tuple[type[BaseException], list[BaseException]] | None = None
        self._inside = False

    @contextlib.contextmanager
    def around(self) -> Iterator[None]:
        """Schedulers' code may run, and finds our reactor. Legal inside of itself. NotAwaited."""
        if self._inside:
            yield
            return
        self._inside = True
        observer: Any = self._logged
        globalLogPublisher.addObserver(observer)
        try:
            with warnings.catch_warnings(record=True) as warned, borrowed_reactor(self._reactor):
                warnings.simplefilter("always")
                yield
        finally:
            self._inside = False
            globalLogPublisher.removeObserver(observer)
        for one in warned:
            if "was never awaited" in str(one.message):
                raise NotAwaited(f"{one.message}: write 'await' before that call")
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)

    def raised(self, what: str, error: BaseException) -> None:
        """Something failed."""
        self._errors.append((what, error))

    def tell(self) -> None:
        """HookFailed: something has failed since this was last asked, and was not expected."""
        errors, self._errors = self._errors, []
        for what, error in errors:
            if self._expected is None or not isinstance(error, self._expected[0]):
                raise _hook_failed(what, error) from error
            self._expected[1].append(error)

    @contextlib.contextmanager
    def expecting(self, kind: type[BaseException]) -> Iterator[list[BaseException]]:
        """Inside, ``kind`` is expected, and must come."""
        raised: list[BaseException] = []
        before, self._expected = self._expected, (kind, raised)
        try:
            yield raised
        finally:
            self._expected = before
        if not raised:
            raise HarnessError(f"no scheduler's code raised {kind.__name__} here")

    def _logged(self, event: dict[str, Any]) -> None:
        level = event.get("log_level")
        self.log.append(f"{level.name if level is not None else 'info'}: {formatEvent(event)}")
        failure = event.get("failure") or event.get("log_failure")
        if isinstance(failure, Failure) and failure.value is not None:
            what = f"{event['cause']} of {event['name']!r}" if "cause" in event else "code outside of any turn"
            self.raised(what, failure.value)


def _hook_failed(what: str, error: BaseException) -> HookFailed:
    kept = "" if what.startswith("deactivate") else "; nothing of that turn is kept, and a master would try it again"
    return HookFailed(
        f"{what} failed: {type(error).__name__}: {error}{kept}. If the test is about that, call this inside"
        " 'with harness.expect_failure():'"
    )
