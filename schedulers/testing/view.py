"""One scheduler of a harness, as a test looks at it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ...db import holding, listings
from ..base import to_datetime
from .errors import NobodyActive
from .looks import Buildset, Failed, Skipped

if TYPE_CHECKING:
    from .harness import SchedulerHarness


class SchedulerView:
    """What is committed of one scheduler: ``harness["name"]``. Of the first one, the harness itself has all of this too."""

    def __init__(self, harness: SchedulerHarness, number: int, name: str) -> None:
        self._harness = harness
        self._rehearsal = harness.rehearsal
        self.number = number
        self.name = name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}{' active' if self.active else ''}>"

    @property
    def active(self) -> bool:
        """Whether an instance of it is active now."""
        tenure = self._rehearsal.tenure(self.number)
        return tenure is not None and tenure.activated

    @property
    def instance(self) -> Any:
        """The active instance; another one after each takeover and each failure. NobodyActive."""
        tenure = self._rehearsal.tenure(self.number)
        if tenure is None or not tenure.activated:
            last = self._harness.log[-1:]
            why = f"; the last that was logged: {last[0]}" if last else ""
            raise NobodyActive(f"{self.name!r} is not active now{why}")
        return tenure.scheduler

    @property
    def buildsets(self) -> list[Buildset]:
        """Those that it asked for, oldest first."""
        return [one for one in self._harness.all_buildsets if one.scheduler == self.name]

    @property
    def state(self) -> dict[str, Any]:
        """What ``setState`` has kept."""
        return {key: json.loads(text) for key, text in self._page.state.items()}

    @property
    def timers(self) -> dict[str, datetime]:
        """Timer key -> when it is due."""
        return {line.key: to_datetime(line.due) for line in self._page.timers}

    @property
    def pending(self) -> Mapping[int, bool]:
        """The changes that it has classified and not flushed: number -> important."""
        return self._rehearsal.database.read(holding.load, [self.number])[self.number].classified

    @property
    def failures(self) -> list[Failed]:
        """The causes that its code failed to answer, those that were set aside too."""
        return [
            Failed(f.cause, f.attempts, None if f.retry_at is None else to_datetime(f.retry_at), f.error)
            for f in self._page.failures
        ]

    @property
    def skips(self) -> list[Skipped]:
        """The due times and changes that it passed over, each with the reason, oldest first."""
        found = [
            Skipped(s.what, to_datetime(s.first), to_datetime(s.last), s.count, s.reason)
            if s.what == "ticks"
            else Skipped(s.what, s.first, s.last, s.count, s.reason)
            for s in self._page.skips
        ]
        return sorted(found, key=lambda skip: (skip.what, skip.first))

    @property
    def term(self) -> int:
        """Raised by one whenever it changes hands, is retaken, disabled or enabled."""
        return self._page.line.term

    @property
    def enabled(self) -> bool:
        """Whether it may work."""
        return self._page.line.enabled

    @property
    def _page(self) -> listings.SchedulerPage:
        return self._rehearsal.database.read(listings.scheduler, self.name, "scheduler")
