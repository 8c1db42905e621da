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
from ..changes.filter import ChangeFilter
from ..mq import TIMER
from . import base

__all__ = ["AnyBranchScheduler", "BaseBasicScheduler", "Scheduler", "SingleBranchScheduler"]

_NOT_GIVEN: Mapping[str, Any] = {
    "branch": NOT_GIVEN,
    "branches": NOT_GIVEN,
    "change_filter": None,
    "categories": None,
}


class BaseBasicScheduler(base.BaseScheduler, new.BaseBasicScheduler):
    """With the hooks that such code overrides: ``getChangeFilter``, ``getTimerNameForChange``, ``stableTimerFired`` and
    ``getChangeClassificationsForTimer``. The timers are durable."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if type(self).getChangeFilter is not BaseBasicScheduler.getChangeFilter:
            asked = {**_NOT_GIVEN, **{name: kwargs.pop(name) for name in _NOT_GIVEN if name in kwargs}}
            kwargs["change_filter"] = self.getChangeFilter(**asked) or ChangeFilter()
        super().__init__(*args, **kwargs)
        if self.__dict__.get("fileIsImportant") is None and getattr(type(self), "fileIsImportant", None) is not None:
            self.__dict__.pop("fileIsImportant", None)  # a method of the class is meant
        self._stable_timers: dict[Any, Any] = defaultdict(lambda: None)

    def getChangeFilter(self, branch: Any, branches: Any, change_filter: Any, categories: Any) -> Any:
        """Which changes it is for, of the constructor's arguments; None: all. Asked only where it is overridden."""
        made = ChangeFilter.fromSchedulerConstructorArgs
        return made(change_filter, branches if branch is NOT_GIVEN else branch, categories)

    def getTimerNameForChange(self, change: Change) -> Any:
        """Changes of the same name wait together: a text, or a tuple of JSON values."""
        return _name_of(super().timerKey(change))

    def getChangeClassificationsForTimer(self, sched_id: int, timer_name: Any) -> Any:
        """The pending changes that a timer stands for."""
        return self._pending_of(_key_of(timer_name))

    @hook
    async def stableTimerFired(self, timer_name: Any) -> None:
        """Nothing has come for so long: a buildset of all that waits, in this turn or, if there is none, in one of its own."""
        if self.master.records.in_turn:
            await self._build(timer_name)
        else:
            async with self.turn():
                await self._build(timer_name)

    # -- on what these rest -----------------------------------------------------------------------------------------

    async def _build(self, timer_name: Any) -> None:
        await answered(super().gotTimer(_key_of(timer_name), self.now()))

    @hook
    async def _pending_of(self, key: str) -> dict[int, bool]:
        numbers = await answered(super().pendingFor(key))
        pending: dict[int, bool] = await self.getChangeClassifications()
        return {number: pending[number] for number in numbers if number in pending}

    def timerKey(self, change: Change) -> str:
        return _key_of(self.getTimerNameForChange(change))

    @hook
    async def pendingFor(self, key: str) -> list[int]:
        name = _name_of(key)
        found: Mapping[int, bool] = await answered(self.getChangeClassificationsForTimer(self.serviceid, name))
        return list(found)

    @hook
    async def gotTimer(self, key: str, due: datetime) -> None:
        if key.startswith(TIMER):
            await super().gotTimer(key, due)
        else:
            await answered(self.stableTimerFired(_name_of(key)))

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


def _key_of(name: Any) -> str:
    """The key of the durable timer of that name."""
    return name if isinstance(name, str) else json.dumps(name)


def _name_of(key: str) -> Any:
    """The name of that key: what was a tuple is one again."""
    return tuple(json.loads(key)) if key.startswith("[") else key


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
