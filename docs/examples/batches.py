"""Batches: at most so many changes in one build, and no change waits longer than so long for its batch to fill.

For a build that takes too long to be done for each change, where a batch of fifty would hide who broke it.

    plugins: [./batches.py]
    schedulers:
      - type: batches.Batches
        name: integration
        builderNames: [integration]
        most: 5
        wait: 15m
        change_filter: {branch: main}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

from locum.schedulers import BaseScheduler, Change, duration_argument, filter_argument


class Batches(BaseScheduler):
    """A buildset as soon as ``most`` changes wait, and of those that do when the first of them has waited for ``wait``.

    Pending changes: those that wait. Timer ``wait``: when the first of them has waited long enough.
    """

    compare_attrs: ClassVar[Sequence[str]] = ("most", "wait", "change_filter")

    def __init__(
        self,
        name: str,
        builderNames: Sequence[str],
        most: int = 10,
        wait: float | str = "10m",
        change_filter: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name, builderNames, **kwargs)
        if not isinstance(most, int) or most < 1:
            raise ValueError(f"most: expected a whole number of 1 or more, got {most!r}")
        self.most = most
        self.wait = timedelta(seconds=duration_argument("wait", wait))
        self.change_filter = filter_argument(change_filter)

    async def activate(self) -> None:
        await super().activate()
        await self.startConsumingChanges(change_filter=self.change_filter)
        await self._build(least=self.most)  # a reconfiguration may have made `most` smaller

    async def gotChange(self, change: Change, important: bool) -> None:
        await self.classifyChanges({change.number: important})
        if self.timerDue("wait") is None:
            await self.setTimer("wait", self.now() + self.wait)
        await self._build(least=self.most)

    async def gotTimer(self, key: str, due: datetime) -> None:
        await self._build(least=1)

    async def _build(self, least: int) -> None:
        """Batches of what waits, oldest first, as long as one has ``least`` changes."""
        waiting = list(await self.getChangeClassifications())
        while len(waiting) >= least:
            batch, waiting = waiting[: self.most], waiting[self.most :]
            await self.flushChangeClassifications(batch)
            await self.addBuildsetForChanges(reason=f"{len(batch)} changes", changeids=batch)
        if not waiting:
            await self.cancelTimer("wait")
