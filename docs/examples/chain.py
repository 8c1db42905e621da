"""A dependency chain that starts what it needs: ask for the last builders, and those before them run first, in order.

For pipelines in one place: what can run side by side does, and nothing is begun whose needs have failed.

    plugins: [./chain.py]
    schedulers:
      - type: chain.Chain
        name: release
        builderNames: [package]
        needs:
          package: [unit, lint]
          unit: [compile]
          lint: [compile]
        change_filter: {branch: stable}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from graphlib import CycleError, TopologicalSorter
from typing import Any, ClassVar

from locum.schedulers import BaseScheduler, Change, FinishedBuildset, filter_argument

GOOD = ("success", "warnings")


class Chain(BaseScheduler):
    """For each change: a buildset for every builder that ``builderNames`` need, each as soon as all that *it* needs is good.

    State ``runs``: the change's number -> ``open`` (the id of a buildset -> its builder) and ``ended`` (builder -> whether it
    was good). A run is over when nothing is open.
    """

    compare_attrs: ClassVar[Sequence[str]] = ("needs", "change_filter")
    requests_work = False  # a person who forced a builder of it would get that one without what it needs

    def __init__(
        self,
        name: str,
        builderNames: Sequence[str],
        needs: Mapping[str, Sequence[str]],
        change_filter: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name, builderNames, **kwargs)
        self.needs = {builder: list(needed) for builder, needed in needs.items()}
        self.change_filter = filter_argument(change_filter)
        try:
            self.order = list(TopologicalSorter(self.needs).static_order())
        except CycleError as error:
            raise ValueError(f"needs: these need one another: {' -> '.join(error.args[1])}") from None

    def faultsAmong(self, others: Mapping[str, Any], builders: Set[str]) -> Iterator[tuple[str, str]]:
        for builder in self.order:
            if builder not in builders:
                yield "needs", f"there is no builder {builder!r}"

    async def activate(self) -> None:
        await super().activate()
        await self.startConsumingChanges(change_filter=self.change_filter)
        await self.startConsumingBuildsets(lambda buildset: buildset.scheduler == self.name)
        # What ended while it was disabled, of which it is not told; and `needs` may be others now.
        runs = await self.getState("runs", {})
        results = await self.master.results_of([int(bsid) for run in runs.values() for bsid in run["open"]])
        for number, run in list(runs.items()):
            _note(run, results)
            await self._go_on(runs, number)

    async def gotChange(self, change: Change, important: bool) -> None:
        runs = await self.getState("runs", {})
        runs[str(change.number)] = {"open": {}, "ended": {}}
        await self._go_on(runs, str(change.number))

    async def gotBuildsetComplete(self, buildset: FinishedBuildset) -> None:
        runs = await self.getState("runs", {})
        for number, run in list(runs.items()):
            if str(buildset.id) in run["open"]:  # else it was seen in activate
                _note(run, {buildset.id: buildset.result})
                await self._go_on(runs, number)

    async def _go_on(self, runs: dict[str, Any], number: str) -> None:
        """Start all whose needs are there. With nothing open nothing will ever come, and the run is over."""
        run = runs[number]
        for builder in sorted(self._wanted() - {*run["open"].values(), *run["ended"]}):
            if all(run["ended"].get(needed) for needed in self.needs.get(builder, ())):
                bsid, _ = await self.addBuildsetForChanges(
                    reason=f"{builder} of change {number}", changeids=[int(number)], builderNames=[builder]
                )
                run["open"][str(bsid)] = builder
        if not run["open"]:
            del runs[number]
        await self.setState("runs", runs)

    def _wanted(self) -> set[str]:
        """The last builders, and all that they need."""
        wanted = set(self.listBuilderNames())
        for builder in reversed(self.order):  # each comes before what it needs
            if builder in wanted:
                wanted.update(self.needs.get(builder, ()))
        return wanted


def _note(run: dict[str, Any], results: Mapping[int, str]) -> None:
    for bsid, result in results.items():
        builder = run["open"].pop(str(bsid), None)
        if builder is not None:
            run["ended"][builder] = result in GOOD
