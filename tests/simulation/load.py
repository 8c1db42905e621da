"""What the simulated masters run: the standard schedulers in several settings, and some whose purpose is to notice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest import mock
from zoneinfo import ZoneInfo

from locum.config import MasterConfig, parse
from locum.db.errors import DatabaseError
from locum.master import configuring
from locum.master.loop import Loop
from locum.master.sources.base import ChangeSource
from locum.schedulers.base import BaseScheduler
from locum.schedulers.basic import AnyBranchScheduler, SingleBranchScheduler
from locum.schedulers.interface import NotActive
from locum.schedulers.timed import Nightly, Periodic
from twisted.internet.defer import Deferred

from .world import World

HEAD = """
master: {{ roles: [{roles}], workdir: "{folder}/work" }}
database: {{ url: "sqlite:///{folder}/locum.sqlite" }}
cluster: {{ lease: {lease}, heartbeat: {heartbeat}, turn_timeout: 20s }}
tasks: {{ lost_after: {lost_after}, max_running: 3, drain: 6s }}
builders:
  - {{ name: unit, steps: [ {{ shell: [work, "%(prop:task)s"] }} ] }}
  - {{ name: limited, max_parallel: 2, on_lost: requeue, steps: [ {{ shell: [work, "%(prop:task)s"] }}, {{ shell: [work, "%(prop:task)s"] }} ] }}
"""
LOST_AFTER_S = 20.0
MAX_PARALLEL = {"limited": 2}
ON_LOST = {"unit": "fail", "limited": "requeue"}
DISABLED = "it was disabled"
SECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class Spec:
    """One scheduler, and what its promises are worked out from: ``role`` says by which rules.

    ``wants(number, branch)`` of a change; ``due(after, until)`` are the due times of a calendar, ``period_us`` those of a grid.
    """

    name: str
    type: str
    role: str
    arguments: str = ""
    wants: Callable[[int, str], bool] = lambda number, branch: True
    period_us: int = 0
    due: Callable[[int, int], list[int]] | None = None
    catch_up: str = "one"
    flaky: bool = False

    @property
    def kind(self) -> str:
        """The kind as the database has it."""
        return "change_source" if self.role == "source" else "scheduler"

    def line(self, generation: int) -> str:
        """Its entry in the YAML; another ``generation`` is another configuration that does the same."""
        if self.role == "source":
            return f"  - {{ type: {self.type}, name: {self.name}, generation: {generation} }}\n"
        extra = f", {self.arguments}" if self.arguments else ""
        properties = f", properties: {{ generation: {generation} }}" if generation else ""
        builder = "limited" if "limited" in self.name else "unit"
        return f"  - {{ type: {self.type}, name: {self.name}, builderNames: [{builder}]{extra}{properties} }}\n"


def _main(number: int, branch: str) -> bool:
    return branch == "main"


def _every_third(number: int, branch: str) -> bool:
    return number % 3 == 0


def _periodic(name: str, seconds: float, catch_up: str = "one", more: str = "", **given: Any) -> Spec:
    arguments = f"periodicBuildTimer: {seconds:g}, catch_up: {catch_up}" + (f", {more}" if more else "")
    given.setdefault("type", "SimPeriodic")
    return Spec(name, role="ticks", arguments=arguments, period_us=round(seconds * 1e6), catch_up=catch_up, **given)


def _nightly(name: str, arguments: str, due: Callable[[int, int], list[int]]) -> Spec:
    return Spec(name, "SimNightly", "ticks", f"{arguments}, catch_up: all", due=due, catch_up="all")


def _local(zone: str, hour: int, minute: int = 0, weekday: int | None = None) -> Callable[[int, int], list[int]]:
    """Every day (of the week) at that time in that zone; times that the zone's changes neither skip nor repeat."""
    there, at = ZoneInfo(zone), time_of_day(hour, minute)

    def due(after: int, until: int) -> list[int]:
        day = datetime.fromtimestamp(after // SECOND, there).date() - timedelta(days=1)
        found: list[int] = []
        while True:
            instant = _instant(day, at, there)
            if instant > until:
                return found
            if instant > after and weekday in (None, day.weekday()):
                found.append(instant)
            day += timedelta(days=1)

    return due


def _instant(day: date, at: time_of_day, zone: ZoneInfo) -> int:
    return round(datetime.combine(day, at, zone).astimezone(UTC).timestamp()) * SECOND


def _every(seconds: int) -> Callable[[int, int], list[int]]:
    """On the grid of whole multiples since the epoch, which UTC's days are too."""
    step = seconds * SECOND

    def due(after: int, until: int) -> list[int]:
        return list(range((after // step + 1) * step, until + 1, step))

    return due


def _dense(pace: float) -> list[Spec]:
    """About twenty; ``pace`` times slower."""
    return [
        Spec("now-main", "SimSingle", "change", "branch: main", wants=_main),
        Spec("now-any", "SimAny", "change"),
        Spec("now-picky", "SimPicky", "change", wants=_every_third),
        Spec("stable-main", "SimSingle", "stable", f"branch: main, treeStableTimer: {4 * pace:g}", wants=_main),
        Spec("stable-any", "SimAny", "stable", f"treeStableTimer: {3 * pace:g}"),
        _periodic("tick-all", 2 * pace, "all"),
        _periodic("tick-one", 3 * pace, more="jitter: 1s"),
        _periodic("tick-none-limited", 5 * pace, "none"),
        _periodic("tick-grace", 1.5 * pace, "all", more="grace: 10s"),
        _nightly("minute", 'cron: "* * * * *"', _every(60)),
        Spec("counter", "SimCounter", "counter"),
        Spec("background", "SimBackground", "counter"),
        Spec("flaky-change", "SimFlaky", "change", flaky=True),
        _periodic("flaky-tick", 3 * pace, "all", type="SimFlakyTick", flaky=True),
        Spec("source", "SimSource", "source"),
    ]


def _wide(pace: float) -> list[Spec]:
    return [
        Spec("now-main", "SimSingle", "change", "branch: main", wants=_main),
        Spec("now-picky", "SimPicky", "change", wants=_every_third),
        Spec("stable-any", "SimAny", "stable", f"treeStableTimer: {3 * pace:g}"),
        _periodic("tick-all", 2 * pace, "all"),
        _periodic("tick-one", 3 * pace, more="jitter: 1s"),
        _periodic("tick-none", 4 * pace, "none"),
        _periodic("idle", 86_400),
        Spec("counter", "SimCounter", "counter"),
        _nightly("minute", 'cron: "* * * * *"', _every(60)),
    ]


def _long() -> list[Spec]:
    return [
        Spec("now-main", "SimSingle", "change", "branch: main", wants=_main),
        Spec("stable-any", "SimAny", "stable", "treeStableTimer: 40"),
        _nightly("berlin", "hour: 12, minute: 30, timezone: Europe/Berlin", _local("Europe/Berlin", 12, 30)),
        _nightly("sydney", 'cron: "15 22 * * *", timezone: Australia/Sydney', _local("Australia/Sydney", 22, 15)),
        _nightly(
            "weekly", 'cron: "45 6 * * wed", timezone: America/New_York', _local("America/New_York", 6, 45, weekday=2)
        ),
        _nightly("six-hourly", 'cron: "0 */6 * * *"', _every(6 * 3600)),
        _periodic("seven-hours", 25_200, "all"),
        _periodic("five-days", 432_000, "one", more="jitter: 10s"),
        Spec("counter", "SimCounter", "counter", "beat: 28800"),
    ]


def _copied(some: list[Spec], copies: int) -> list[Spec]:
    return [replace(spec, name=f"{spec.name}-{i}") for i in range(copies) for spec in some]


@lru_cache(maxsize=64)
def specs(shape: str, copies: int) -> Mapping[str, Spec]:
    """The schedulers of a story of that shape, by name."""
    if shape == "wide":
        found = _copied(_wide(8.0), copies)
    elif shape == "long":
        found = _long()
    elif shape == "tasks":
        follower = Spec("follower-limited", "SimFollower", "follower")
        found = [*_dense(4.0), follower]
    else:
        found = _dense(1.0)
    return {spec.name: spec for spec in found}


@dataclass(frozen=True, slots=True)
class Variant:
    """One of the configurations that a story's masters go through."""

    without: tuple[str, ...] = ()
    generations: tuple[tuple[str, int], ...] = ()
    heartbeat: str = ""
    faulty: bool = False


def configuration(
    found: Mapping[str, Spec], variant: Variant, folder: Path, lease: str, heartbeat: str, *, tasks: bool
) -> MasterConfig:
    """What a master's file says. Its constructor faults are found later, by whoever makes its schedulers."""
    head = HEAD.format(
        roles="schedulers, tasks" if tasks else "schedulers",
        folder=folder,
        lease=lease,
        heartbeat=variant.heartbeat or heartbeat,
        lost_after=f"{LOST_AFTER_S:g}s",
    )
    generations = dict(variant.generations)
    lines = {"scheduler": "schedulers:\n", "change_source": "change_sources:\n"}
    for spec in found.values():
        if spec.name not in variant.without:
            lines[spec.kind] += spec.line(generations.get(spec.name, 0))
    if variant.faulty:
        lines["scheduler"] += (
            "  - { type: SimPeriodic, name: faulty, builderNames: [unit], periodicBuildTimer: 3, jitter: 4 }\n"
        )
    body = "".join(text for text in lines.values() if text.count("\n") > 1)
    return parse((head + body).encode(), "sim.yaml", {}, folder)


class Watched:
    """An instance is active once: after a term, attributes in memory may be dirty. Nothing is asked of one that is not."""

    world: World
    was_active = False

    async def activate(self: Any) -> None:
        if self.was_active:
            self.world.violate(f"P5: {self.name}: an instance that was active before is activated again")
        self.was_active = True
        await super().activate()  # type: ignore[misc]

    def only_active(self: Any) -> None:
        """Call it where the scheduler reacts to something."""
        if not self.active:
            self.world.violate(f"P7: {self.name}: an instance that is not active was asked to react")


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
        async def gotTimer(self, key: str, due: datetime) -> None:
            self.only_active()
            await super().gotTimer(key, due)

    class SimNightly(Watched, Nightly):
        pass

    class SimFlaky(Watched, AnyBranchScheduler):
        async def gotChange(self, change: Any, important: bool) -> None:
            self.only_active()
            await super().gotChange(change, important)
            await world.slowly(self.name)
            world.maybe_raise(self.name, f"change {change.number}")

    class SimFlakyTick(Watched, Periodic):
        async def gotTimer(self, key: str, due: datetime) -> None:
            await super().gotTimer(key, due)
            world.maybe_raise(self.name, f"due {due.timestamp():.0f}")

    class Counting(Watched, BaseScheduler):
        """Counts its turns in its state: a lost or doubled one shows at once."""

        last: int | None = None

        def __init__(self, name: str, builderNames: Any, beat: float = 2, **kwargs: Any) -> None:
            super().__init__(name, builderNames, **kwargs)
            self.beat = timedelta(seconds=beat)

        async def count(self) -> None:
            self.only_active()
            n = await self.getState("n", 0)
            if self.last is not None and n != self.last:
                world.violate(f"P5: {self.name}: read {n} where it had written {self.last}")
            await world.slowly(self.name)
            await self.setState("n", n + 1)
            self.last = n + 1

    class SimCounter(Counting):
        async def activate(self) -> None:
            await super().activate()
            await self.count()
            await self.startConsumingChanges()
            if "beat" not in self.master.timers():
                await self._again()

        async def gotChange(self, change: Any, important: bool) -> None:
            await self.count()

        async def gotTimer(self, key: str, due: datetime) -> None:
            await self.count()
            await self._again()

        async def _again(self) -> None:
            await self.setTimer("beat", self.now() + self.beat)

    class SimBackground(Counting):
        """Background code with turns of its own, beside those for messages."""

        async def activate(self) -> None:
            await super().activate()
            await self.count()
            Deferred.fromCoroutine(self._go_on()).addErrback(lambda f: world.violate(f"background: {f.getTraceback()}"))

        async def _go_on(self) -> None:
            while self.active:
                await world.pause(1.5)
                try:
                    async with self.turn():
                        await self.count()
                except NotActive:
                    return

    class SimFollower(Watched, BaseScheduler):
        """One buildset for every third finished one of others."""

        async def activate(self) -> None:
            await super().activate()
            await self.startConsumingBuildsets(lambda b: follows(b.number, b.scheduler or ""))

        async def gotBuildsetComplete(self, buildset: Any) -> None:
            self.only_active()
            await world.slowly(self.name)
            await self.addBuildsetForSourceStampsWithDefaults(
                reason="followed", sourcestamps=[], external_idstring=str(buildset.number)
            )

    class SimSource(Watched, ChangeSource):
        """Makes a change of each revision that was pushed upstream."""

        compare_attrs = ("generation",)

        def __init__(self, name: str, generation: int = 0) -> None:
            super().__init__(name)
            self.generation = generation
            self._loop: Loop | None = None

        async def activate(self) -> None:
            await super().activate()
            self._loop = Loop(self.surroundings.reactor, self._poll, 3.0, "polling")
            self._loop.start()

        async def deactivate(self) -> None:
            if self._loop is not None:
                await self._loop.stop()
            await super().deactivate()

        async def _poll(self) -> None:
            try:
                async with self.turn():
                    self.only_active()
                    seen = await self.getState("seen", 0)
                    new = world.upstream[seen:]
                    for number, branch in enumerate(new, seen + 1):
                        await world.slowly(self.name)
                        # Another id at each attempt: only the turn makes it once.
                        fields = {"branch": branch, "revision": f"up{number}", "repository": "repo", "who": "up"}
                        await self.master.add_change(fields, f"up{number}/{world.next_number()}")
                    if new:
                        await self.setState("seen", seen + len(new))
            except (NotActive, DatabaseError):
                pass

    found = {
        cls.__name__: cls
        for cls in (
            SimSingle, SimAny, SimPicky, SimPeriodic, SimNightly, SimFlaky, SimFlakyTick, SimCounter, SimBackground,
            SimFollower, SimSource,
        )
    }  # fmt: skip
    for cls in found.values():
        cls.world = world
    return found


def follows(number: int, scheduler: str) -> bool:
    """Which finished buildsets the follower wants."""
    return number % 3 == 0 and not scheduler.startswith("follower")


def _third(change: Any) -> bool:
    return bool(change.number % 3 == 0)


@contextmanager
def named(found: dict[str, Any]) -> Iterator[None]:
    """While this lasts, the YAML may name these classes."""
    with mock.patch.dict(configuring.STANDARD, found):
        yield
