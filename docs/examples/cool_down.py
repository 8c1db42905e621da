"""Cool-down: one build at a time, and a pause after each; what comes meanwhile is built together afterwards.

For what is dear or wants to be left alone: a rack of devices, a staging system that people look at after each build.

    plugins: [./cool_down.py]
    schedulers:
      - type: cool_down.CoolDown
        name: rack
        builderNames: [devices]
        pause: 20m
        change_filter: {branch: main}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

from locum.schedulers import BaseScheduler, Change, FinishedBuildset, duration_argument, filter_argument, to_datetime


class CoolDown(BaseScheduler):
    """Builds all changes since the last build, never sooner than ``pause`` after that one has ended, whatever its result.

    State ``last``: the id of its last buildset, and when that was complete (null: it is not). Timer ``cool``: the end of the
    pause.
    """

    compare_attrs: ClassVar[Sequence[str]] = ("pause", "change_filter")

    def __init__(
        self,
        name: str,
        builderNames: Sequence[str],
        pause: float | str = "10m",
        change_filter: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name, builderNames, **kwargs)
        self.pause = timedelta(seconds=duration_argument("pause", pause))
        self.change_filter = filter_argument(change_filter)

    async def activate(self) -> None:
        await super().activate()
        await self.startConsumingChanges(change_filter=self.change_filter)
        await self.startConsumingBuildsets(lambda buildset: buildset.scheduler == self.name)
        last = await self.getState("last", None)
        if last is None:
            return
        if last["ended"] is not None:
            await self._ended(last["id"], datetime.fromisoformat(last["ended"]))  # `pause` may be another one now
        elif await self.master.results_of([last["id"]]):
            await self._ended(last["id"], self.now())  # of what ends while it is disabled it is not told

    async def gotChange(self, change: Change, important: bool) -> None:
        await self.classifyChanges({change.number: important})
        last = await self.getState("last", None)
        if last is None or (last["ended"] is not None and self.timerDue("cool") is None):
            await self._build()

    async def gotBuildsetComplete(self, buildset: FinishedBuildset) -> None:
        last = await self.getState("last", None)
        if last is not None and buildset.id == last["id"]:  # else a person forced it
            await self._ended(buildset.id, to_datetime(buildset.completed_at))

    async def gotTimer(self, key: str, due: datetime) -> None:
        await self._build()

    async def _ended(self, bsid: int, when: datetime) -> None:
        await self.setState("last", {"id": bsid, "ended": when.isoformat()})
        await self.setTimer("cool", when + self.pause)

    async def _build(self) -> None:
        waiting = list(await self.getChangeClassifications())
        if waiting:
            await self.flushChangeClassifications(waiting)
            bsid, _ = await self.addBuildsetForChanges(reason="all changes since the last build", changeids=waiting)
            await self.setState("last", {"id": bsid, "ended": None})
