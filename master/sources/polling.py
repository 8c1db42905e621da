"""A change source that looks every so often: never twice at once, never stopped by an error, slower while it fails."""

from __future__ import annotations

import re
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ...config import parse_duration
from ...schedulers.interface import NotActive
from ..logs import Log
from ..loop import Loop
from .base import ChangeSource

SHORTEST_INTERVAL_S = 0.1
LONGEST_PAUSE_S = 300.0
"""A source that fails looks at least this often (or at its own interval, if that is longer)."""
MOST_TEXT = 1000


class PollFailed(Exception):
    """A poll could not be done; the text says why, fit to be shown to anybody. It is tried again."""


@dataclass(frozen=True, slots=True)
class Polled:
    """How a poll went, for ``locum status``; ``ok`` False: it needs a person, though nothing failed."""

    ok: bool
    text: str


class PollingSource(ChangeSource):
    """Calls ``poll()`` at once when it becomes active and every ``poll_interval_s`` seconds.

    An error is logged once until a poll has gone well again, and shown in the status; the pause doubles from one failed
    poll to the next, up to five minutes.
    """

    log = Log()
    compare_attrs: ClassVar[Sequence[str]] = ("poll_interval_s",)

    def __init__(self, name: str, poll_interval: Any) -> None:
        super().__init__(name)
        self.poll_interval_s = duration("poll_interval", poll_interval, SHORTEST_INTERVAL_S)
        self._loop: Loop | None = None
        self._failures = 0
        self._logged: set[str] = set()

    async def poll(self) -> Polled:
        """Look once. PollFailed, or any other exception: it is tried again later."""
        raise NotImplementedError

    def interrupt(self) -> None:
        """End the poll that is running, if any, soon: called at deactivation, ``active`` is False by then."""

    def scrubbed(self, text: str) -> str:
        """``text`` without what must not be shown."""
        return text

    async def activate(self) -> None:
        await super().activate()
        self._failures = 0
        self._logged.clear()
        self._loop = Loop(self.surroundings.reactor, self._look, self.poll_interval_s, f"change source {self.name!r}")
        self._loop.start()

    async def deactivate(self) -> None:
        self.active = False
        if self._loop is not None:
            stopped = self._loop.stop()
            self.interrupt()
            await stopped
        await super().deactivate()

    async def _look(self) -> None:
        try:
            self.master.get_state("status")  # NotActive before anything outside is touched
            polled = await self.poll()
            self._went_well(polled)
            await self.tell(polled.ok, polled.text[:MOST_TEXT])
        except NotActive:
            pass  # another instance goes on; this one is deactivated in a moment
        except Exception as error:
            if self.active:
                await self._failed(error)

    def _went_well(self, polled: Polled) -> None:
        if self._failures:
            self.log.info("change source {name}: works again", name=self.name)
        self._failures = 0
        self._pause(self.poll_interval_s)
        if polled.ok:
            self._logged.clear()
        else:
            self._warn_once(polled.text)

    async def _failed(self, error: Exception) -> None:
        self._failures += 1
        pause_s = min(self.poll_interval_s * 2.0 ** min(self._failures - 1, 30), LONGEST_PAUSE_S)
        self._pause(max(pause_s, self.poll_interval_s))
        known = isinstance(error, PollFailed)
        text = self.scrubbed(str(error) if known else f"{type(error).__name__}: {error}")[:MOST_TEXT]
        self._warn_once(text)
        if not known:
            self.log.debug("{trace}", trace=self.scrubbed(traceback.format_exc()))
        try:
            await self.tell(False, text)
        except NotActive:
            pass

    def _warn_once(self, text: str) -> None:
        kind = re.sub(r"\d+", "0", text)
        if kind not in self._logged:
            if len(self._logged) < 100:
                self._logged.add(kind)
            self.log.warn("change source {name}: {text}", name=self.name, text=text)

    def _pause(self, seconds: float) -> None:
        if self._loop is not None:
            self._loop.interval_s = seconds


def duration(argument: str, value: Any, least_s: float) -> float:
    """Seconds of a constructor's argument; ValueError names it."""
    try:
        seconds = parse_duration(value)
    except ValueError as error:
        raise ValueError(f"{argument}: {error}, got {value!r}") from None
    if seconds < least_s:
        raise ValueError(f"{argument}: expected at least {least_s:g}s, got {value!r}")
    return seconds
