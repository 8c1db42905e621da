"""The schedulers of changes: ``SingleBranchScheduler``, ``AnyBranchScheduler``."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from twisted.internet.defer import Deferred

from ... import basic as new
from ...changes import Change
from ...filters import NOT_GIVEN
from ...hooks import answered, hook
from ..absent import absent
from ..mq import TIMER
from . import base

__all__ = ["AnyBranchScheduler", "BaseBasicScheduler", "Scheduler", "SingleBranchScheduler"]


class BaseBasicScheduler(base.BaseScheduler, new.BaseBasicScheduler):
    """With the hooks that such code overrides: ``getTimerNameForChange``, ``getChangeClassificationsForTimer`` and
    ``stableTimerFired``. The timers are durable."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.__dict__.get("fileIsImportant") is None and getattr(type(self), "fileIsImportant", None) is not None:
            self.__dict__.pop("fileIsImportant", None)  # a method of the class is meant
        self._stable_timers: dict[Any, Any] = defaultdict(lambda: None)

    def getTimerNameForChange(self, change: Change) -> Any:
        """Changes of the same name wait together; it must be JSON."""
        return super().timerKey(change)

    def getChangeClassificationsForTimer(self, sched_id: int, timer_name: Any) -> Any:
        """The pending changes that a timer stands for."""
        return self._pending_of(str(timer_name))

    def stableTimerFired(self, timer_name: Any) -> Any:
        """Nothing has come for so long: a buildset of all that waits."""
        return self._stable(timer_name)

    # -- on what these rest -----------------------------------------------------------------------------------------

    def timerKey(self, change: Change) -> str:
        name = self.getTimerNameForChange(change)
        return name if isinstance(name, str) else json.dumps(name)

    @hook
    async def _pending_of(self, key: str) -> dict[int, bool]:
        numbers = await answered(super().pendingFor(key))
        pending: dict[int, bool] = await self.getChangeClassifications()
        return {number: pending[number] for number in numbers if number in pending}

    @hook
    async def pendingFor(self, key: str) -> list[int]:
        found: Mapping[int, bool] = await answered(self.getChangeClassificationsForTimer(self.serviceid, key))
        return list(found)

    @hook
    async def _stable(self, timer_name: Any) -> None:
        await answered(super().gotTimer(str(timer_name), self.now()))

    @hook
    async def gotTimer(self, key: str, due: datetime) -> None:
        if key.startswith(TIMER):
            await super().gotTimer(key, due)
        else:
            await answered(self.stableTimerFired(key))

    @hook
    async def activate(self) -> None:
        """Also sets the timers of important changes that wait without one: those of code that had its own in memory."""
        await super().activate()
        waiting = [number for number, important in (await self.getChangeClassifications()).items() if important]
        if waiting and self.treeStableTimer is not None:
            due = self.now() + timedelta(seconds=self.treeStableTimer)
            for change in await self.master.changes(waiting):
                key = self.timerKey(change)
                if key not in self.master.timers():
                    await self.setTimer(key, due)

    def deactivate(self) -> Deferred[None]:
        for timer in self._stable_timers.values():
            if timer is not None and timer.active():
                timer.cancel()
        done: Deferred[None] = super().deactivate()
        return done


class SingleBranchScheduler(BaseBasicScheduler, new.SingleBranchScheduler):
    """Follows one branch, or what a ``change_filter`` lets through."""


class AnyBranchScheduler(BaseBasicScheduler, new.AnyBranchScheduler):
    """Follows all branches, each with a timer of its own."""


class Scheduler(SingleBranchScheduler):
    """``SingleBranchScheduler``, by its oldest name; arguments may stand without theirs."""

    def __init__(
        self,
        name: str,
        branch: Any = NOT_GIVEN,
        treeStableTimer: Any = None,
        builderNames: Any = None,
        fileIsImportant: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            name,
            builderNames=builderNames,
            branch=branch,
            treeStableTimer=treeStableTimer,
            fileIsImportant=fileIsImportant,
            **kwargs,
        )


__getattr__ = absent(__name__)
