"""Schedulers of the torture chamber. Each counts what it has done in its state, and makes one buildset of each count, so
that the two can be compared: buildset N has the reason ``number N``, and the state's ``count`` is the last N.

``LOCUM_TEST_FOLDER`` is the run's folder.
"""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from locum.schedulers import BaseScheduler, NotActive, SingleBranchScheduler
from locum.schedulers.filters import ChangeFilter
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread


class Important(SingleBranchScheduler):
    """Changes of files below ``src`` are important."""

    def __init__(self, name: str, builderNames: Any, **kwargs: Any) -> None:
        super().__init__(name, builderNames, fileIsImportant=important, **kwargs)


def important(change: Any) -> bool:
    return any(file.startswith("src/") for file in change.files)


class Numbered(BaseScheduler):
    """Those that count."""

    async def number(self, **state: Any) -> str:
        """Count one more; the reason for its buildset."""
        count = await self.getState("count", 0) + 1
        await self.setState("count", count)
        for key, value in state.items():
            await self.setState(key, value)
        return f"number {count}"


class OfBranch(Numbered):
    """Those that react to the changes of one branch (None: of all)."""

    compare_attrs = ("branch",)

    def __init__(self, name: str, builderNames: Any, branch: str | None = None, **kwargs: Any) -> None:
        super().__init__(name, builderNames, **kwargs)
        self.branch = branch

    async def activate(self) -> None:
        await super().activate()
        await self.startConsumingChanges(change_filter=ChangeFilter(branch=self.branch) if self.branch else None)


class Counting(OfBranch):
    """A buildset for each change."""

    async def gotChange(self, change: Any, important: bool) -> None:
        await self.addBuildsetForChanges(reason=await self.number(newest=change.number), changeids=[change.number])


class Relaying(Counting):
    """For each change also another one, of branch ``to``, with the request id ``relay-<that one's number>``."""

    compare_attrs = ("to",)

    def __init__(self, name: str, builderNames: Any, to: str = "", **kwargs: Any) -> None:
        super().__init__(name, builderNames, **kwargs)
        self.to = to

    async def gotChange(self, change: Any, important: bool) -> None:
        await super().gotChange(change, important)
        fields = {"who": self.name, "branch": self.to, "files": ["src/relayed"], "comments": f"of {change.number}"}
        await self.master.add_change(fields, f"relay-{change.number}")


class Slow(OfBranch):
    """A buildset for each change, after ``seconds``; in a thread that blocks, or by waiting."""

    def __init__(self, name: str, builderNames: Any, seconds: float = 1.0, thread: bool = False, **kwargs: Any) -> None:
        super().__init__(name, builderNames, **kwargs)
        self.seconds = seconds
        self.thread = thread

    async def gotChange(self, change: Any, important: bool) -> None:
        reason = await self.number()
        if self.thread:
            await deferToThread(time.sleep, self.seconds)
        else:
            await deferLater(reactor, self.seconds)
        await self.addBuildsetForChanges(reason=reason, changeids=[change.number])


class Raising(OfBranch):
    """A buildset for each change; for each ``every``-th it raises first, once in the whole run, half way through."""

    def __init__(self, name: str, builderNames: Any, every: int = 4, **kwargs: Any) -> None:
        super().__init__(name, builderNames, **kwargs)
        self.every = every

    async def gotChange(self, change: Any, important: bool) -> None:
        await self.addBuildsetForChanges(reason=await self.number(), changeids=[change.number])
        if change.number % self.every == 0 and _first(f"{self.name}-{change.number}"):
            raise RuntimeError(f"change {change.number} is one of those at which {self.name} raises")


def _first(what: str) -> bool:
    """Whether this is the first time that this is asked, in any process."""
    folder = Path(os.environ["LOCUM_TEST_FOLDER"]) / "raised"
    folder.mkdir(exist_ok=True)
    try:
        (folder / what).open("x").close()
    except FileExistsError:
        return False
    return True


class Gathering(OfBranch):
    """Changes wait in the state until ``seconds`` after the first of them; one buildset for all of them."""

    compare_attrs = ("seconds",)

    def __init__(self, name: str, builderNames: Any, seconds: float = 2.0, **kwargs: Any) -> None:
        super().__init__(name, builderNames, **kwargs)
        self.seconds = seconds

    async def gotChange(self, change: Any, important: bool) -> None:
        waiting = await self.getState("waiting", [])
        if not waiting:
            await self.setTimer("full", self.now() + timedelta(seconds=self.seconds))
        await self.setState("waiting", [*waiting, change.number])

    async def gotTimer(self, key: str, due: Any) -> None:
        waiting = await self.getState("waiting", [])
        if waiting:
            await self.addBuildsetForChanges(reason=await self.number(waiting=[]), changeids=waiting)


class Ticking(Numbered):
    """A buildset every ``seconds`` by its own timer; its external id is the due time."""

    compare_attrs = ("seconds",)

    def __init__(self, name: str, builderNames: Any, seconds: float = 2.0, **kwargs: Any) -> None:
        super().__init__(name, builderNames, **kwargs)
        self.seconds = seconds

    async def activate(self) -> None:
        await super().activate()
        if not await self.getState("count", 0):
            await self.setTimer("beat", self.now())

    async def gotTimer(self, key: str, due: Any) -> None:
        await self.addBuildsetForSourceStampsWithDefaults(
            reason=await self.number(), external_idstring=f"{self.name}-{due.isoformat()}"
        )
        await self.setTimer("beat", due + timedelta(seconds=self.seconds))


class Background(Numbered):
    """A buildset every ``seconds``, of its own accord: no durable timer, so what came due while it was away is nothing."""

    compare_attrs = ("seconds",)

    def __init__(self, name: str, builderNames: Any, seconds: float = 2.0, **kwargs: Any) -> None:
        super().__init__(name, builderNames, **kwargs)
        self.seconds = seconds
        self._next: Any = None

    async def activate(self) -> None:
        await super().activate()
        self._next = reactor.callLater(self.seconds, self._act)  # type: ignore[attr-defined]

    async def deactivate(self) -> None:
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._next = None
        await super().deactivate()

    def _act(self) -> None:
        Deferred.fromCoroutine(self._count()).addErrback(lambda failure: failure.trap(NotActive))

    async def _count(self) -> None:
        async with self.turn():
            await self.addBuildsetForSourceStampsWithDefaults(reason=await self.number())
        if self.active:
            self._next = reactor.callLater(self.seconds, self._act)  # type: ignore[attr-defined]


class Following(Numbered):
    """A buildset for each one of ``upstream`` that has completed; its external id is ``after-<that one's id>``."""

    compare_attrs = ("upstream",)

    def __init__(self, name: str, builderNames: Any, upstream: str = "", **kwargs: Any) -> None:
        super().__init__(name, builderNames, **kwargs)
        self.upstream = upstream

    async def activate(self) -> None:
        await super().activate()
        await self.startConsumingBuildsets(lambda buildset: buildset.scheduler == self.upstream)

    async def gotBuildsetComplete(self, buildset: Any) -> None:
        await self.addBuildsetForSourceStampsWithDefaults(
            reason=await self.number(), external_idstring=f"after-{buildset.id}"
        )
