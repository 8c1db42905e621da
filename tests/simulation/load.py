"""What the simulated masters run: the standard schedulers in several settings, and some whose purpose is to notice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from locum.config import MasterConfig, parse
from locum.master import configuring
from locum.schedulers.base import BaseScheduler
from locum.schedulers.basic import AnyBranchScheduler, SingleBranchScheduler
from locum.schedulers.timed import Nightly, Periodic

from .world import World

YAML = """
master: {{ roles: [schedulers] }}
database: {{ url: "sqlite:///{path}" }}
cluster: {{ lease: {lease}, heartbeat: {heartbeat}, turn_timeout: 20s }}
builders:
  - {{ name: unit, steps: [ {{ shell: ["true"] }} ] }}
schedulers:
  - {{ type: SimSingle, name: now-main, branch: main, builderNames: [unit] }}
  - {{ type: SimAny, name: now-any, builderNames: [unit] }}
  - {{ type: SimPicky, name: now-picky, builderNames: [unit] }}
  - {{ type: SimSingle, name: stable-main, branch: main, treeStableTimer: 4, builderNames: [unit] }}
  - {{ type: SimAny, name: stable-any, treeStableTimer: 3, builderNames: [unit] }}
  - {{ type: SimPeriodic, name: tick-all, periodicBuildTimer: 2, catch_up: all, builderNames: [unit] }}
  - {{ type: SimPeriodic, name: tick-one, periodicBuildTimer: 3, jitter: 1s, builderNames: [unit] }}
  - {{ type: SimPeriodic, name: tick-none, periodicBuildTimer: 5, catch_up: none, builderNames: [unit] }}
  - {{ type: SimPeriodic, name: tick-grace, periodicBuildTimer: 1.5, catch_up: all, grace: 10s, builderNames: [unit] }}
  - {{ type: SimNightly, name: minute, cron: "* * * * *", catch_up: all, builderNames: [unit] }}
  - {{ type: SimCounter, name: counter, builderNames: [unit] }}
  - {{ type: SimFlaky, name: flaky-change, builderNames: [unit] }}
  - {{ type: SimFlakyTick, name: flaky-tick, periodicBuildTimer: 3, catch_up: all, builderNames: [unit] }}
"""

IMMEDIATE: dict[str, Callable[[int, str], bool]] = {
    "now-main": lambda number, branch: branch == "main",
    "now-any": lambda number, branch: True,
    "now-picky": lambda number, branch: number % 3 == 0,
    "flaky-change": lambda number, branch: True,
}
STABLE: dict[str, Callable[[int, str], bool]] = {
    "stable-main": lambda number, branch: branch == "main",
    "stable-any": lambda number, branch: True,
}
PERIODS_US = {
    "tick-all": 2_000_000,
    "tick-one": 3_000_000,
    "tick-none": 5_000_000,
    "tick-grace": 1_500_000,
    "flaky-tick": 3_000_000,
    "minute": 60_000_000,
}
FLAKY = ("flaky-change", "flaky-tick")
DISABLED = "it was disabled"


def configuration(path: Path, lease: str, heartbeat: str) -> MasterConfig:
    """The one that all masters share, but for their names."""
    return parse(YAML.format(path=path, lease=lease, heartbeat=heartbeat).encode(), "sim.yaml", {}, path.parent)


class Watched:
    """An instance is active once: after a term, attributes in memory may be dirty."""

    world: World
    was_active = False

    async def activate(self: Any) -> None:
        if self.was_active:
            self.world.violate(f"{self.name}: an instance that was active before is activated again")
        self.was_active = True
        await super().activate()  # type: ignore[misc]


def classes(world: World) -> dict[str, Any]:
    """The classes by the names that the YAML uses, bound to a world."""

    class SimSingle(Watched, SingleBranchScheduler):
        pass

    class SimAny(Watched, AnyBranchScheduler):
        pass

    class SimPicky(Watched, AnyBranchScheduler):
        def __init__(self, name: str, builderNames: Any, **kwargs: Any) -> None:
            super().__init__(name, builderNames, fileIsImportant=_third, **kwargs)

    class SimPeriodic(Watched, Periodic):
        pass

    class SimNightly(Watched, Nightly):
        pass

    class SimFlaky(Watched, AnyBranchScheduler):
        async def gotChange(self, change: Any, important: bool) -> None:
            await super().gotChange(change, important)
            if world.happens("slow turn"):
                await world.pause(world.rng.uniform(0.01, 5.0))
            if world.happens("raise"):
                raise RuntimeError("simulated")

    class SimFlakyTick(Watched, Periodic):
        async def gotTimer(self, key: str, due: datetime) -> None:
            await super().gotTimer(key, due)
            if world.happens("raise"):
                raise RuntimeError("simulated")

    class SimCounter(Watched, BaseScheduler):
        """Counts its turns in its state: a lost or doubled one shows at once."""

        last: int | None = None

        async def activate(self) -> None:
            await super().activate()
            await self._count()
            await self.startConsumingChanges()
            if "beat" not in self.master.timers():
                await self._again()

        async def gotChange(self, change: Any, important: bool) -> None:
            await self._count()

        async def gotTimer(self, key: str, due: datetime) -> None:
            await self._count()
            await self._again()

        async def _again(self) -> None:
            await self.setTimer("beat", self.now() + timedelta(seconds=2))

        async def _count(self) -> None:
            n = await self.getState("n", 0)
            if self.last is not None and n != self.last:
                world.violate(f"{self.name}: read {n} where it had written {self.last}")
            if world.happens("slow turn"):
                await world.pause(world.rng.uniform(0.01, 5.0))
            await self.setState("n", n + 1)
            self.last = n + 1

    found = {
        cls.__name__: cls
        for cls in (SimSingle, SimAny, SimPicky, SimPeriodic, SimNightly, SimFlaky, SimFlakyTick, SimCounter)
    }
    for cls in found.values():
        cls.world = world
    return found


def _third(change: Any) -> bool:
    return bool(change.number % 3 == 0)


@contextmanager
def named(found: dict[str, Any]) -> Iterator[None]:
    """While this lasts, the YAML may name these classes."""
    with mock.patch.dict(configuring.STANDARD, found):
        yield
