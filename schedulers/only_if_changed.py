"""Timed schedulers and changes: ``onlyIfChanged``, the times at which it is overruled, and the branch in the stamps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from twisted.internet.defer import Deferred

from .absolute_stamps import AbsoluteSourceStamps, flag_argument
from .basic import filter_argument, importance_argument
from .catchup import Skip
from .changes import Change
from .filters import NOT_GIVEN, AllOf, ChangeFilter
from .hooks import hook

_SERVED = "onlyIfChanged"
NOTHING_CHANGED = "onlyIfChanged: nothing important has changed"


class OnlyIfChanged(AbsoluteSourceStamps):
    """What Periodic and Nightly do at a due time: a buildset of all changes since the last one, or of none.

    ``branch`` goes into the source stamps, and only its changes count; not given, the changes of every branch do.
    With ``onlyIfChanged`` a due time is a recorded skip when no important change has come since the last buildset;
    unimportant ones then wait for the next. The first due time ever, and the first one after the option was switched on, always make a buildset.
    """

    compare_attrs: ClassVar[Sequence[str]] = (
        "branch",
        "onlyIfChanged",
        "change_filter",
        "fileIsImportant",
        "onlyImportant",
    )

    def __init__(
        self,
        name: str,
        builderNames: Any,
        branch: Any = NOT_GIVEN,
        onlyIfChanged: bool = False,
        change_filter: ChangeFilter | Mapping[str, Any] | None = None,
        fileIsImportant: Callable[[Change], Any] | None = None,
        onlyImportant: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(name, builderNames, **kwargs)
        if branch is not NOT_GIVEN and branch is not None and not isinstance(branch, str):
            raise ValueError(f"branch: expected a name, or null for the default branch, got {branch!r}")
        self.branch = branch
        self.onlyIfChanged = flag_argument("onlyIfChanged", onlyIfChanged)
        self.change_filter = filter_argument(change_filter)
        self.fileIsImportant = importance_argument(fileIsImportant)
        self.onlyImportant = flag_argument("onlyImportant", onlyImportant)
        self.reason: str
        self.askedFor: bool
        self._served = False
        """what onlyIfChanged was at the last due time that was served or skipped for it; not kept while it never was on"""

    def forced_at(self, nominal: int) -> bool:
        """Whether that due time makes a buildset even if nothing has changed."""
        return False

    @hook
    async def activate(self) -> None:
        await super().activate()
        self._served = await self.getState(_SERVED, False)
        if self.onlyIfChanged or self.createAbsoluteSourceStamps:
            await self.startConsumingChanges(self.fileIsImportant, self._wanted(), self.onlyImportant)

    def _wanted(self) -> ChangeFilter | AllOf | None:
        if self.branch is NOT_GIVEN:
            return self.change_filter
        of_branch = ChangeFilter(branch=self.branch)
        return of_branch if self.change_filter is None else AllOf(of_branch, self.change_filter)

    @hook
    async def gotChange(self, change: Change, important: bool) -> None:
        await self.classifyChanges({change.number: important})
        await self.remember(change)

    def getCodebaseDict(self, codebase: str) -> Deferred[dict[str, Any]]:
        found = super().getCodebaseDict(codebase)
        if self.branch is NOT_GIVEN or self.branch is None:
            return found
        return found.addCallback(lambda found: {**found, "branch": self.branch})

    @hook
    async def fire(self, nominal: int | None) -> None:
        """One due time is served: ask for work, or record why not."""
        before, self._served = self._served, self.onlyIfChanged
        if before is not self._served:
            await self.setState(_SERVED, self._served)
        pending = self.master.classifications()
        nothing_new = self.onlyIfChanged and before and not any(pending.values())
        if nominal is not None and nothing_new and not self.askedFor and not self.forced_at(nominal):
            await self.master.record_skips([Skip(nominal, nominal, 1, NOTHING_CHANGED)])
        elif pending:
            numbers = sorted(pending)
            await self.flushChangeClassifications(numbers)
            await self.addBuildsetForChanges(reason=self.reason, changeids=numbers, due_at=nominal)
        else:
            await self.addBuildsetForSourceStampsWithDefaults(reason=self.reason, due_at=nominal)
