"""Bisecting: when another scheduler's build of several changes fails, find the one that broke it, and tell.

For main branches whose changes are built together: nobody has to find out by hand whose change it was.

    plugins: [./bisecting.py]
    schedulers:
      - {type: SingleBranchScheduler, name: quick, branch: main, treeStableTimer: 5m, builderNames: [unit]}
      - type: bisecting.Bisecting
        name: whodunit
        upstream: quick
        builderNames: [unit]
        tell: [notify]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, ClassVar

from locum.schedulers import BaseScheduler, FinishedBuildset

GOOD = ("success", "warnings")


class Bisecting(BaseScheduler):
    """Builds the middle one of the suspected changes until one is left, then asks ``tell`` for a build with what was found:
    properties ``suspects`` (change numbers: one, or several if a build told nothing) and ``author`` (of the last of them).

    State: ``red``, whether the last buildset of ``upstream`` failed; ``hunts``, the id of a buildset that is waited for ->
    the suspects, oldest first: what was before them is good, and the last of them is bad.
    """

    compare_attrs: ClassVar[Sequence[str]] = ("upstream", "tell")

    def __init__(
        self, name: str, builderNames: Sequence[str], upstream: str, tell: Sequence[str], **kwargs: Any
    ) -> None:
        super().__init__(name, builderNames, **kwargs)
        self.upstream = upstream
        self.tell = list(tell)

    def faultsAmong(self, others: Mapping[str, Any], builders: Set[str]) -> Iterator[tuple[str, str]]:
        if self.upstream not in others:
            yield "upstream", f"there is no scheduler {self.upstream!r}"
        for builder in self.tell:
            if builder not in builders:
                yield "tell", f"there is no builder {builder!r}"

    async def activate(self) -> None:
        await super().activate()
        await self.startConsumingBuildsets(lambda buildset: buildset.scheduler in (self.upstream, self.name))
        hunts = await self.getState("hunts", {})
        for bsid, result in (await self.master.results_of([int(one) for one in hunts])).items():
            await self._go_on(bsid, result)  # those that ended while it was disabled, of which it is not told

    async def gotBuildsetComplete(self, buildset: FinishedBuildset) -> None:
        if buildset.scheduler == self.name:
            await self._go_on(buildset.id, buildset.result)
        elif buildset.result in GOOD:
            await self.setState("red", False)
        elif buildset.result == "failure" and buildset.changes:
            if not await self.getState("red", False):  # else it was broken before these
                await self._narrow(list(buildset.changes))
            await self.setState("red", True)

    async def _go_on(self, bsid: int, result: str) -> None:
        """The build of a middle change has ended."""
        hunts = await self.getState("hunts", {})
        suspects = hunts.pop(str(bsid), None)
        if suspects is None:
            return  # of `tell`, or one that was seen in activate
        await self.setState("hunts", hunts)
        middle = _middle(suspects)
        if result in GOOD:
            await self._narrow(suspects[middle + 1 :])
        elif result == "failure":
            await self._narrow(suspects[: middle + 1])
        else:
            await self._tell(suspects)  # cancelled, say: it told nothing

    async def _narrow(self, suspects: list[int]) -> None:
        if len(suspects) == 1:
            await self._tell(suspects)
            return
        middle = suspects[_middle(suspects)]
        bsid, _ = await self.addBuildsetForChanges(reason=f"which of {suspects} is it?", changeids=[middle])
        await self.setState("hunts", {**await self.getState("hunts", {}), str(bsid): suspects})

    async def _tell(self, suspects: list[int]) -> None:
        last = (await self.master.changes(suspects))[-1]
        await self.addBuildsetForChanges(
            reason=f"{self.upstream} was broken by {' or '.join(map(str, suspects))}",
            changeids=suspects,
            builderNames=self.tell,
            properties={"suspects": suspects, "author": last.who},
        )


def _middle(suspects: Sequence[int]) -> int:
    """The place of the one to build: there is one after it."""
    return len(suspects) // 2 - 1
