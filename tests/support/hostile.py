"""Schedulers that misbehave, each in one way: a plugin of the cluster tests.

``LOCUM_TEST_MASTER`` is the name of the master whose process this runs in, ``LOCUM_TEST_FOLDER`` where traces are left.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

from locum.schedulers import BaseScheduler, Periodic
from locum.schedulers.interface import NotActive
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred

MASTER = os.environ.get("LOCUM_TEST_MASTER", "?")


def _grip(seconds: float) -> None:
    """Compute for about so long in one call that keeps the interpreter to itself; longer if others have the processor."""
    began = time.thread_time()
    sum(range(3_000_000))
    sum(range(int(3_000_000 * seconds / (time.thread_time() - began))))


class Trace:
    """One line for each thing done, in a file of this process's own."""

    def __init__(self, name: str) -> None:
        self._path = Path(os.environ.get("LOCUM_TEST_FOLDER", ".")) / f"{name}.{MASTER}.trace"

    def __call__(self, what: str) -> None:
        with self._path.open("a") as file:
            file.write(f"{os.getpid()} {what}\n")


class Counting(BaseScheduler):
    """Counts its changes in its state, and makes a buildset of each whose reason is the count."""

    async def activate(self) -> None:
        await super().activate()
        await self.startConsumingChanges()

    async def gotChange(self, change: Any, important: bool) -> None:
        count = await self.getState("count", 0) + 1
        await self.setState("count", count)
        await self.addBuildsetForChanges(reason=f"number {count}", changeids=[change.number])


class Witness(BaseScheduler):
    """Leaves a trace of whatever it is asked to do, and, standing by, tries to do what only the active one may."""

    compare_attrs = ("mark",)

    def __init__(self, name: str, builderNames: Any, mark: str = "", **kwargs: Any) -> None:
        super().__init__(name, builderNames, **kwargs)
        self.mark = mark
        self.trace = Trace(name)

    def startService(self) -> None:
        super().startService()
        self.trace("startService")
        reactor.callLater(0.2, self.meddle)  # type: ignore[attr-defined]

    def meddle(self) -> None:
        if self.active:
            return
        for what in (
            lambda: self.setState("meddled", MASTER),
            lambda: self.setTimer("meddled", self.now()),
            lambda: self.addBuildsetForSourceStampsWithDefaults(reason="meddled"),
        ):
            try:
                done = what()
                done.addCallbacks(lambda _: self.trace("MEDDLED"), lambda failure: self._refused(failure.value))
            except Exception as error:
                self._refused(error)
        Deferred.fromCoroutine(self._turn()).addErrback(lambda failure: self._refused(failure.value))

    async def _turn(self) -> None:
        async with self.turn():
            await self.setState("meddled", MASTER)
            self.trace("MEDDLED")

    def _refused(self, error: BaseException) -> None:
        self.trace("refused" if isinstance(error, NotActive) else f"odd {error!r}")

    def stopService(self) -> Any:
        self.trace("stopService")
        return super().stopService()

    async def activate(self) -> None:
        await super().activate()
        self.trace("activate")
        await self.startConsumingChanges()
        await self.setTimer("beat", self.now())

    async def deactivate(self) -> None:
        await super().deactivate()
        self.trace("deactivate")

    async def gotChange(self, change: Any, important: bool) -> None:
        self.trace(f"change {change.revision}")
        await self.addBuildsetForChanges(reason=self.mark, changeids=[change.number])

    def gotTimer(self, key: str, due: Any) -> None:
        self.trace("timer")


class Blocking(BaseScheduler):
    """A change whose comment is ``block SECONDS`` blocks the reactor for as long; ``grip`` keeps the interpreter's lock."""

    async def activate(self) -> None:
        await super().activate()
        await self.startConsumingChanges()

    async def gotChange(self, change: Any, important: bool) -> None:
        what, _, seconds = change.comments.partition(" ")
        if what == "block":
            Trace(self.name)("blocking")
            time.sleep(float(seconds))  # noqa: ASYNC251
        elif what == "grip":
            Trace(self.name)("blocking")
            _grip(float(seconds))
        await self.addBuildsetForChanges(reason="a change", changeids=[change.number])


class Gripping(BaseScheduler):
    """A change whose comment is ``hold SECONDS`` makes a thread of this process hold the SQLite database's write lock."""

    def __init__(self, name: str, builderNames: Any, path: str = "", **kwargs: Any) -> None:
        super().__init__(name, builderNames, **kwargs)
        self.path = path

    async def activate(self) -> None:
        await super().activate()
        await self.startConsumingChanges()

    async def gotChange(self, change: Any, important: bool) -> None:
        await self.addBuildsetForChanges(reason="a change", changeids=[change.number])
        if change.comments.startswith("hold "):
            threading.Thread(target=self._hold, args=(float(change.comments[5:]),), daemon=True).start()

    def _hold(self, seconds: float) -> None:
        time.sleep(0.3)  # until the turn that began it is committed
        raw = sqlite3.connect(self.path, timeout=30, isolation_level=None)
        raw.execute("BEGIN IMMEDIATE")
        Trace(self.name)("holding")
        time.sleep(seconds)
        raw.execute("ROLLBACK")
        raw.close()


class Stubborn(BaseScheduler):
    """Its ``deactivate`` never finishes: ``how`` is wait (for nothing), deny (it swallows being cancelled) or deferred."""

    compare_attrs = ("how", "mark")

    def __init__(self, name: str, builderNames: Any, how: str = "wait", mark: str = "", **kwargs: Any) -> None:
        super().__init__(name, builderNames, **kwargs)
        self.how = how
        self.mark = mark

    async def activate(self) -> None:
        await super().activate()
        await self.startConsumingChanges()

    async def gotChange(self, change: Any, important: bool) -> None:
        await self.addBuildsetForChanges(reason=self.mark, changeids=[change.number])

    def deactivate(self) -> Any:
        if self.how == "deferred":
            return Deferred(canceller=lambda deferred: None)
        return self._never(super().deactivate)

    async def _never(self, what_comes_last: Any) -> None:
        while self.how:
            try:
                await Deferred()
            except CancelledError:
                if self.how != "deny":
                    raise
        await what_comes_last()


class Failing(BaseScheduler):
    """Raises in the hook that ``where`` names, on the masters that ``on`` lists (all, if empty), while the file
    ``mended`` is not there. ``where`` may also be a way to fail: see ``gotChange``."""

    def __init__(self, name: str, builderNames: Any, where: str = "", on: Any = (), **kwargs: Any) -> None:
        super().__init__(name, builderNames, **kwargs)
        self.where = where
        self.on = tuple(on)

    def _mended(self) -> bool:
        return Path(os.environ["LOCUM_TEST_FOLDER"], f"{self.name}.mended").exists()

    def _fail(self, where: str) -> None:
        here = not self.on or MASTER in self.on
        if where == self.where and here and not self._mended():
            raise RuntimeError(f"{where} of {self.name} fails on purpose")

    def startService(self) -> None:
        super().startService()
        self._fail("startService")

    def stopService(self) -> Any:
        self._fail("stopService")
        return super().stopService()

    async def activate(self) -> None:
        await super().activate()
        self._fail("activate")
        important = self._important if self.where == "fileIsImportant" else None
        await self.startConsumingChanges(fileIsImportant=important)
        await self.startConsumingBuildsets(self._wanted if self.where == "buildsetFilter" else None)
        if self.where == "gotTimer":
            await self.setTimer("once", self.now())

    def startActivity(self) -> None:
        self._fail("startActivity")

    def stopActivity(self) -> None:
        self._fail("stopActivity")

    async def deactivate(self) -> None:
        await super().deactivate()
        self._fail("deactivate")

    def _important(self, change: Any) -> bool:
        self._fail("fileIsImportant")
        return True

    def _wanted(self, buildset: Any) -> bool:
        self._fail("buildsetFilter")
        return False

    async def gotTimer(self, key: str, due: Any) -> None:
        self._fail("gotTimer")
        await self.setState("timer", "fired")

    async def gotBuildsetComplete(self, buildset: Any) -> None:
        self._fail("gotBuildsetComplete")

    def gotChange(self, change: Any, important: bool) -> Any:
        return Deferred.fromCoroutine(self._got(change))

    async def _got(self, change: Any) -> None:
        self._fail("gotChange")
        if not self._mended():
            if self.where == "never":
                await self.setState("half", "done")
                await Deferred()
            elif self.where == "notJson":
                await self.setState("bad", {1, 2, 3})
            elif self.where == "nan":
                await self.setState("bad", float("nan"))
            elif self.where == "unknownBuilder":
                await self.addBuildsetForChanges(reason="x", changeids=[change.number], builderNames=["nobody"])
            elif self.where == "unknownChange":
                await self.addBuildsetForChanges(reason="x", changeids=[change.number + 1000])
            elif self.where == "half":  # an effect, then an error: nothing of it may be seen
                await self.setState("half", "done")
                await self.addBuildsetForChanges(reason="half", changeids=[change.number])
                raise RuntimeError("after half of it")
            elif self.where == "nul":
                await self.addBuildsetForChanges(reason="nul \0 in a reason", changeids=[change.number])
            elif self.where == "systemExit":
                raise SystemExit("a scheduler wants the process to end")
        await self.addBuildsetForChanges(reason="done", changeids=[change.number])


class Rubbish(BaseScheduler):
    """Every hook answers something that makes no sense."""

    def activate(self) -> Any:
        super_ = super().activate()

        async def both() -> Any:
            await super_
            await self.startConsumingChanges()
            return object()

        return both()

    def startActivity(self) -> Any:
        return 42

    def stopActivity(self) -> Any:
        return "stopped?"

    def deactivate(self) -> Any:
        super().deactivate()
        return [None, object()]

    def gotChange(self, change: Any, important: bool) -> Any:
        done = self.addBuildsetForChanges(reason="rubbish", changeids=[change.number])
        assert done.called
        return {"not": "a deferred"}


class Priority(BaseScheduler):
    """Its priority is a function."""

    def __init__(self, name: str, builderNames: Any, **kwargs: Any) -> None:
        super().__init__(name, builderNames, priority=lambda builders, changes: len(builders) + 40, **kwargs)

    async def activate(self) -> None:
        await super().activate()
        await self.startConsumingChanges()

    async def gotChange(self, change: Any, important: bool) -> None:
        await self.addBuildsetForChanges(reason="a change", changeids=[change.number])


class TimedPriority(Periodic):
    """A timed one whose priority is a function."""

    def __init__(self, name: str, builderNames: Any, **kwargs: Any) -> None:
        super().__init__(name, builderNames, priority=lambda builders, changes: len(builders) + 40, **kwargs)
