"""What timed schedulers do when a buildset that they asked for before is unfinished: skip, queue, allow, replace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from .base import BaseScheduler
from .catchup import Skip
from .hooks import hook
from .interface import FinishedBuildset
from .overlap import REPLACED, checked_overlap, next_step

RUNS = "runs"
"""The timer, and the state, of what runs and waits. The timer looks again at what may have ended unheard."""


class Overlapping(BaseScheduler):
    """Knows which of its buildsets are unfinished, if it must: unless ``overlap`` is ``allow``.

    Subclasses give ``fire(nominal)``, which asks for the work of one due time, and call ``serve(nominal)`` for each.
    """

    compare_attrs: ClassVar[Sequence[str]] = ("overlap",)

    def __init__(self, name: str, builderNames: Any, overlap: Any = "allow", **kwargs: Any) -> None:
        super().__init__(name, builderNames, **kwargs)
        self.overlap = checked_overlap(overlap)
        self.askedFor = False
        """while a person's wish is served: then nothing needs to have changed"""
        self._running: list[int] = []
        self._waiting: list[int] = []
        self._added: list[int] = []
        """what has been added for the last of people's wishes"""

    @hook
    async def activate(self) -> None:
        await super().activate()
        state = await self.getState(RUNS, {})
        self._running, self._waiting = list(state.get("running", ())), list(state.get("waiting", ()))
        if self.overlap != "allow":
            await self.startConsumingBuildsets(lambda buildset: buildset.scheduler == self.name)
        if self._running or self._waiting:  # some may have ended while it was disabled, and nobody told it
            await self.master.set_timer(RUNS, self.master.now())

    @hook
    async def fire(self, nominal: int | None) -> None:
        """One due time is served: ask for work. None: a person asked for it, at no due time."""
        raise NotImplementedError

    async def serve(self, nominal: int, in_line: bool = False) -> None:
        """A due time: asked for now, or when the run before it has ended, or a recorded skip."""
        step, why = next_step(self.overlap, len(self._running), len(self._waiting), in_line=in_line)
        if step == "start":
            await self.fire(nominal)
        elif step == "skip":
            await self.master.record_skips([Skip(nominal, nominal, 1, why)])
        else:
            if step == "replace":
                await self._stop_all()
            self._waiting.append(nominal)
            await self._remember()

    async def _stop_all(self) -> None:
        for buildset in self._running:
            await self.master.cancel_buildset(buildset, REPLACED)
        await self.master.record_skips([Skip(nominal, nominal, 1, REPLACED) for nominal in self._waiting])
        self._waiting = []

    async def _add(self, *args: Any, **kwargs: Any) -> tuple[int, dict[int, int]]:
        answer = await super()._add(*args, **kwargs)
        if self.askedFor:
            self._added.append(answer[0])
        if self.overlap != "allow":
            self._running.append(answer[0])
            await self._remember()
        return answer

    async def _remember(self) -> None:
        await self.setState(RUNS, {"running": self._running, "waiting": self._waiting})

    @hook
    async def gotBuildsetComplete(self, buildset: FinishedBuildset) -> None:
        await self._ended([buildset.id])

    @hook
    async def look_again(self) -> None:
        """The timer ``RUNS``: what ended unheard, and what waits for nothing."""
        await self._ended(list(await self.master.results_of(self._running)))

    async def _ended(self, buildsets: Sequence[int]) -> None:
        if self.overlap == "allow":  # it was another one before
            self._running = []
        self._running = [one for one in self._running if one not in buildsets]
        while self._waiting and not (self._running and self.overlap != "allow"):
            await self.fire(self._waiting.pop(0))
        await self._remember()

    # -- what people ask for --------------------------------------------------------------------------------------

    @hook
    async def runNow(self) -> Mapping[str, Any]:
        """One buildset now, whatever else runs; the grid does not move."""
        found = await self._asked(lambda: self.fire(None))
        return {"buildset": found[0]} if found else {"error": f"scheduler {self.name!r} found nothing to ask for"}

    async def _asked(self, serve: Any) -> list[int]:
        """The buildsets that a person's wish has added."""
        self._added = []
        self.askedFor = True
        try:
            await serve()
        finally:
            self.askedFor = False
        return self._added
