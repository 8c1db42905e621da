"""Schedulers that react to changes: one branch, or every branch by itself, at once or when the tree has been stable."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, overload

from ..config import parse_duration
from .absolute_stamps import AbsoluteSourceStamps, flag_argument
from .arguments import checked_importance
from .base import Clustered
from .changes import Change
from .filters import NOT_GIVEN, ChangeFilter
from .hooks import hook


@overload
def duration_argument(name: str, value: float | str) -> float: ...
@overload
def duration_argument(name: str, value: Any) -> float | None: ...
def duration_argument(name: str, value: Any) -> float | None:
    """Seconds of a constructor's argument (seconds, or text such as '5m'), None for None. ValueError names it."""
    if value is None:
        return None
    try:
        seconds = parse_duration(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if seconds <= 0:
        raise ValueError(f"{name}: expected a positive duration such as 90s or 5m, got {value!r}")
    return seconds


def filter_argument(value: Any) -> ChangeFilter | None:
    """A ChangeFilter, or the mapping that YAML has for one."""
    if value is None or isinstance(value, ChangeFilter):
        return value
    if isinstance(value, Mapping):
        try:
            return ChangeFilter.from_mapping(value)
        except ValueError as error:
            raise ValueError(f"change_filter: {error}") from None
    raise ValueError(f"change_filter: expected a mapping such as {{branch: main}}, got {value!r}")


def names_argument(name: str, value: Any) -> list[str | None] | None:
    """A list of texts (None among branches is the default branch), None for None. ValueError names the argument."""
    if value is None:
        return None
    one_by_one = isinstance(value, (list, tuple, set, frozenset))
    if not one_by_one or not all(one is None or isinstance(one, str) for one in value):
        raise ValueError(f"{name}: expected a list of names, got {value!r}")
    return list(value)


def reason_argument(value: Any, scheduler: Clustered) -> str:
    """Why there is a buildset, for people to read; by default, that this scheduler asked for it. ValueError."""
    if value is not None and not isinstance(value, str):
        raise ValueError(f"reason: expected text, got {value!r}")
    return value or f"The {type(scheduler).__name__} scheduler named {scheduler.name!r} triggered this build"


def importance_argument(value: Any) -> Callable[[Change], Any] | None:
    """``fileIsImportant``: a function of a change, or None. ValueError."""
    try:
        return checked_importance(value)
    except TypeError as error:
        raise ValueError(str(error)) from None


_ONE_FOR_ALL = "stable"


class BaseBasicScheduler(AbsoluteSourceStamps):
    """Requests work for changes: without ``treeStableTimer`` each important one at once; with one, all since the last
    firing together, when nothing has come for so long. Subclasses say which changes share a timer."""

    compare_attrs: ClassVar[Sequence[str]] = (
        "treeStableTimer",
        "change_filter",
        "fileIsImportant",
        "onlyImportant",
        "reason",
    )

    def __init__(
        self,
        name: str,
        builderNames: Any,
        treeStableTimer: Any = None,
        change_filter: ChangeFilter | Mapping[str, Any] | None = None,
        fileIsImportant: Callable[[Change], Any] | None = None,
        onlyImportant: bool = False,
        reason: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name, builderNames, **kwargs)
        self.treeStableTimer: float | None = duration_argument("treeStableTimer", treeStableTimer)
        self.change_filter = filter_argument(change_filter)
        self.fileIsImportant = importance_argument(fileIsImportant)
        self.onlyImportant = flag_argument("onlyImportant", onlyImportant)
        self.reason = reason_argument(reason, self)

    def timerKey(self, change: Change) -> str:
        """Changes with the same key wait together."""
        return _ONE_FOR_ALL

    @hook
    async def pendingFor(self, key: str) -> list[int]:
        """The pending changes that the timer of that key stands for."""
        return list(await self.getChangeClassifications())

    @hook
    async def activate(self) -> None:
        await super().activate()
        await self.startConsumingChanges(
            fileIsImportant=self.fileIsImportant, change_filter=self.change_filter, onlyImportant=self.onlyImportant
        )

    @hook
    async def gotChange(self, change: Change, important: bool) -> None:
        await self.remember(change)
        if self.treeStableTimer is None:
            if important:
                await self.addBuildsetForChanges(reason=self.reason, changeids=[change.number])
            return
        await self.classifyChanges({change.number: important})
        key = self.timerKey(change)
        if important or key in self.master.timers():
            await self.setTimer(key, self.now() + timedelta(seconds=self.treeStableTimer))

    @hook
    async def gotTimer(self, key: str, due: datetime) -> None:
        numbers = await self.pendingFor(key)
        if numbers:
            await self.flushChangeClassifications(numbers)
            await self.addBuildsetForChanges(reason=self.reason, changeids=numbers)


class SingleBranchScheduler(BaseBasicScheduler):
    """Follows one branch (``branch``; None is the default branch) or what a ``change_filter`` lets through."""

    def __init__(
        self,
        name: str,
        builderNames: Any,
        branch: Any = NOT_GIVEN,
        categories: Sequence[str] | None = None,
        change_filter: ChangeFilter | Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if change_filter is None and branch is NOT_GIVEN:
            raise ValueError("branch: it is required unless change_filter is given (null is the default branch)")
        if change_filter is not None and (branch is not NOT_GIVEN or categories is not None):
            raise ValueError("change_filter: give either it or branch and categories, not both")
        category = names_argument("categories", categories) or None
        if change_filter is None:
            change_filter = ChangeFilter(branch=branch, category=category)
        super().__init__(name, builderNames, change_filter=change_filter, **kwargs)


class AnyBranchScheduler(BaseBasicScheduler):
    """Follows all branches (or ``branches``), each with a timer of its own per codebase, project and repository."""

    def __init__(
        self,
        name: str,
        builderNames: Any,
        branches: Sequence[str | None] | None = None,
        categories: Sequence[str] | None = None,
        change_filter: ChangeFilter | Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if change_filter is not None and (branches is not None or categories is not None):
            raise ValueError("change_filter: give either it or branches and categories, not both")
        branch: Any = names_argument("branches", branches)
        category = names_argument("categories", categories) or None
        if change_filter is None and (branch is not None or category):
            change_filter = ChangeFilter(branch=NOT_GIVEN if branch is None else branch, category=category)
        super().__init__(name, builderNames, change_filter=change_filter, **kwargs)

    def timerKey(self, change: Change) -> str:
        return json.dumps([change.codebase, change.project, change.repository, change.branch])

    @hook
    async def activate(self) -> None:
        await super().activate()
        due = self.timerDue(_ONE_FOR_ALL)
        if due is not None:
            await self._divide(due)

    async def _divide(self, due: datetime) -> None:
        """The one timer of a scheduler that has followed a single branch until now becomes one for each that waits."""
        waiting = [number for number, important in self.master.classifications().items() if important]
        keys = {self.timerKey(change) for change in await self.master.changes(waiting)}
        if _ONE_FOR_ALL not in keys:  # else it is a subclass's own
            await self.cancelTimer(_ONE_FOR_ALL)
            for key in sorted(keys):
                await self.setTimer(key, due)

    @hook
    async def pendingFor(self, key: str) -> list[int]:
        if not key.startswith("["):  # of a class that it was before
            return []
        codebase, project, repository, branch = json.loads(key)
        return list(
            await self.getChangeClassifications(
                branch=branch, repository=repository, project=project, codebase=codebase
            )
        )
