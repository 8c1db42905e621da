"""One simulated story: masters start, work comes in, everything goes wrong that can, then all is left in peace and looked at."""

from __future__ import annotations

import atexit
import contextlib
import gc
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

from locum.config import MasterConfig
from locum.db import changes, messages, orders, upgrading
from locum.db.changes import NewChange
from locum.db.database import Database, HostClocks
from locum.db.naming import Disabled, Refused
from locum.db.urls import DatabaseUrl
from locum.master import incarnation as incarnation_module
from twisted.logger import formatEvent, globalLogPublisher
from twisted.python.failure import Failure

from . import load
from .model import Model
from .world import FATES, SECOND, Process, Violation, World

DEEDS = (
    "change",
    "kill",
    "stop",
    "freeze",
    "block",
    "cut off",
    "outage",
    "disable",
    "move",
    "rebalance",
    "force",
    "roll",
    "clock",
)
NOW_AND_THEN = 400
LEASES = (("10s", "2s"), ("4s", "1s"), ("6s", "1s"))


@dataclass(frozen=True, slots=True)
class Report:
    """How a story went. ``simulated_s``: by its own clock; ``violation`` '' if every promise was kept."""

    seed: int
    steps: int
    commits: int
    simulated_s: float
    digest: str
    violation: str
    lately: tuple[str, ...]

    def __str__(self) -> str:
        head = f"seed {self.seed}: {self.steps} steps, {self.commits} turns' commits, {self.simulated_s:.0f} s simulated, {self.digest}"
        if not self.violation:
            return head
        return "\n".join((*self.lately, "", head, f"VIOLATION: {self.violation}", f"again: LOCUM_SIM_SEED={self.seed}"))


class Story:
    """A seed's story."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.path = folder / "locum.sqlite"
        shutil.copy(_template(), self.path)
        self.world = world = World(seed)
        self.model = Model(world, self.path)
        rng = world.rng
        lease, heartbeat = rng.choice(LEASES)
        self.config: MasterConfig = load.configuration(self.path, lease, heartbeat)
        self.names = [f"m{i + 1}" for i in range(rng.choice((2, 2, 3, 3, 4)))]
        clocks = HostClocks(lambda: world.wall_us, lambda: world.now_us)
        url = DatabaseUrl.parse(f"sqlite:///{self.path}", folder)
        self.people = Database(url, clocks=clocks, label="locum:people", pool_size=1)
        self.peace = False
        self.requests = 0
        self.disabled: set[str] = set()
        world.on_death = self._restart_later
        self._draw()

    def _draw(self) -> None:
        """Which things go wrong in this story, and how often: each story has troubles of its own."""
        rng, world = self.world.rng, self.world
        for fate in FATES:
            if rng.random() < 0.5:
                most = {"kill before": 0.002, "kill after": 0.002, "slow": 0.02}.get(fate, 0.01)
                if fate.startswith(("freeze", "block")):
                    most = 0.003
                world.chances[fate] = rng.uniform(0.0, most)
        world.chances["raise"] = rng.choice((0.0, 0.05, 0.3))
        world.chances["slow turn"] = rng.choice((0.0, 0.05, 0.2))
        world.wake_lost = rng.choice((0.0, 0.1, 0.5, 1.0))
        world.wake_late_s = rng.choice((0.01, 0.1, 1.0))
        every = {"change": 1.5, "disable": 40, "move": 30, "rebalance": 60, "force": 10, "clock": 120}
        self.every = {deed: every.get(deed, 45) * rng.uniform(0.5, 3) for deed in DEEDS}
        for deed in DEEDS:
            if deed != "change" and rng.random() < 0.4:
                self.every[deed] = 0

    # -- the run ------------------------------------------------------------------------------------------------------

    def run(self, steps: int, peace: bool) -> None:
        """``steps`` steps of trouble, then (if wanted) peace. Violation."""
        for name in self.names:
            self.world.boot(name, self.config)
        for deed in DEEDS:
            if self.every[deed]:
                self._plan(deed)
        next_look = NOW_AND_THEN
        while self.world.steps < steps:
            self.world.step()
            if self.world.steps >= next_look:
                next_look += NOW_AND_THEN
                self.model.check_whole()
        if peace:
            self._make_peace()
            self.model.check_quiet()

    def _make_peace(self) -> None:
        world = self.world
        world.note("peace")
        self.peace = True
        world.chances.clear()
        world.outage = False
        world.wake_lost = 0.0
        for process in world.processes:
            process.cut_off = False
            process.thaw()
        for name in sorted(self.disabled):
            self._enable(name)
        world.run_until(world.now_us + 80 * SECOND)
        for _ in range(40):  # what has failed often is tried again late
            if not self._patience_needed():
                break
            world.run_until(world.now_us + 60 * SECOND)

    def _patience_needed(self) -> bool:
        now = self.world.wall_us
        return any(
            self.model.raw.execute(question, (now - 30 * SECOND,)).fetchone()
            for question in (
                "SELECT 1 FROM failures WHERE retry_at > ?",
                "SELECT 1 FROM standby b JOIN masters m ON m.incarnation = b.incarnation WHERE m.state = 'up' AND retry_at > ?",
            )
        )

    def close(self) -> None:
        """Leave nothing behind."""
        self.world.on_death = lambda process: None
        for process in list(self.world.processes):
            process.kill()
        self.people.close()
        self.model.raw.close()

    # -- what happens -------------------------------------------------------------------------------------------------

    def _plan(self, deed: str) -> None:
        wait = self.world.rng.expovariate(1 / self.every[deed])

        def happen() -> None:
            if not self.peace:
                self._do(deed)
                self._plan(deed)

        self.world.later(int(wait * SECOND) + 1, "", happen, None)

    def _do(self, deed: str) -> None:
        rng, world = self.world.rng, self.world
        if deed == "change":
            self._add_changes(rng.choice((1, 1, 1, 2, 5)))
        elif deed == "outage":
            world.outage = True
            world.note("the database is away")
            world.later(int(rng.choice((0.5, 3, 8, 20)) * SECOND), "the database is back", self._back, None)
        elif deed == "disable":
            self._disable(rng.choice(sorted(row.name for row in self.model.rows.values()) or [""]))
        elif deed == "move":
            name = rng.choice([row.name for row in self.model.rows.values()] or [""])
            self._order(orders.move, name, rng.choice((None, *self.names)), "sim")
        elif deed == "rebalance":
            self._order(orders.rebalance, "sim")
        elif deed == "force":
            self._force()
        elif deed == "clock":
            self._set_clock(rng.choice((-20.0, -3.0, -0.4, 0.4, 3.0, 45.0, 400.0)))
        elif deed == "roll":
            for process in list(world.processes):
                process.stop()
        elif world.processes:
            self._harm(deed, rng.choice(world.processes))

    def _harm(self, deed: str, process: Process) -> None:
        rng, world = self.world.rng, self.world
        if deed == "kill":
            process.kill()
        elif deed == "stop":
            process.stop()
        elif deed == "freeze":
            process.freeze(rng.choice((0.5, 3, 8, 15, 40)))
        elif deed == "block":
            process.block(rng.choice((0.5, 3, 8, 15, 40)))
        elif deed == "cut off":
            process.cut_off = True
            world.note(f"{process}: cut off from the database")

            def join_up() -> None:
                process.cut_off = False

            world.later(int(rng.choice((1, 4, 12, 30)) * SECOND), "", join_up, None)

    def _set_clock(self, seconds: float) -> None:
        """Somebody sets the host's wall clock. Seconds in peace are few, so it is not set far back."""
        self.world.note(f"the wall clock is set {seconds:+} s")
        self.world.wall_offset_us += int(seconds * SECOND)
        self.model.jumped = True

    def _back(self) -> None:
        self.world.outage = False

    def _restart_later(self, process: Process) -> None:
        wait = self.world.rng.choice((0.1, 1.0, 5.0, 20.0))
        self.world.later(int(wait * SECOND), "", lambda: self._boot(process.name), None)

    def _boot(self, name: str) -> None:
        self.world.boot(name, self.config)

    # -- what people do -----------------------------------------------------------------------------------------------

    def _order(self, what: Callable[..., Any], *args: Any) -> Any:
        """A person's deed, in one transaction; what the command line refuses is refused here."""
        self.world.note(f"people: {what.__name__} {args}")
        result: Any
        try:
            result = self.people.write(what, *args)
        except (Refused, Disabled, LookupError):
            return None
        except Exception as error:
            if "there is no" in str(error):
                return None
            result = Failure()
        self.model.performed(None, what, args, result)
        if isinstance(result, Failure):
            result.raiseException()
        self.world.wake({"schedulers", "masters", "changes", "messages"})
        return result

    def _add_changes(self, n: int) -> None:
        rng = self.world.rng
        branches = [rng.choice(("main", "main", "dev", "rc")) for _ in range(n)]
        new = []
        for branch in branches:
            self.requests += 1
            new.append(_change(f"r{self.requests}", branch))
        self.world.note(f"people: changes {branches}")
        numbers = self.people.write(changes.add, new)
        if rng.random() < 0.1:
            numbers = self.people.write(changes.add, new)
        if sorted(numbers.values()) != list(range(len(self.model.branches) + 1, len(self.model.branches) + n + 1)):
            raise Violation(f"P3: changes got the numbers {numbers}")
        self.model.branches += branches
        self.model.received += [self.world.wall_us] * n
        self.world.wake({"changes"})

    def _disable(self, name: str) -> None:
        if self._order(orders.disable, name, "for a while", "sim") is None:
            return
        self.disabled.add(name)
        wait = self.world.rng.choice((0.01, 2.0, 15.0, 40.0))
        self.world.later(int(wait * SECOND), "", lambda: self._enable(name), None)

    def _enable(self, name: str) -> None:
        if name in self.disabled:
            self.disabled.discard(name)
            self._order(orders.enable, name, "sim")

    def _force(self) -> None:
        name = self.world.rng.choice([row.name for row in self.model.rows.values()] or [""])
        self.requests += 1
        self._order(messages.send, name, f"f{self.requests}", "force", {"reason": "forced"}, "sim")


def _change(request_id: str, branch: str) -> NewChange:
    return NewChange(
        request_id=request_id, who="sim", files_json="[]", comments="", branch=branch, revision=request_id, category=None,
        repository="repo", codebase="", project="", properties_json="{}", revlink="", committer=None, when_at=None,
    )  # fmt: skip


class _Ids:
    """Stands in for ``secrets`` where incarnations get their ids."""

    def __init__(self, world: World) -> None:
        self._rng = world.rng

    def token_hex(self, n: int) -> str:
        return f"{self._rng.getrandbits(8 * n):0{2 * n}x}"


@cache
def _template() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="locum-sim-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "locum.sqlite"
    clocks = HostClocks(lambda: 1, lambda: 1)
    database = Database(DatabaseUrl.parse(f"sqlite:///{path}", folder), clocks=clocks, label="locum:sim", pool_size=1)
    database.write(upgrading.upgrade)
    database.close()
    return path


@contextlib.contextmanager
def _surroundings(story: Story) -> Iterator[None]:
    """Ids from the seed, our scheduler classes, and what masters log as remarks."""
    world = story.world

    def observe(event: dict[str, Any]) -> None:
        level = event.get("log_level")
        if level is not None and level.name in ("warn", "error", "critical"):
            failure = event.get("log_failure")
            text = formatEvent(event) + (failure.getTraceback() if failure is not None else "")
            world.remark(f"{world.running}: {text}")

    collecting = gc.isenabled()
    gc.disable()  # a dropped coroutine's ``finally`` would run at a moment of its own
    globalLogPublisher.addObserver(observe)
    try:
        with mock.patch.object(incarnation_module, "secrets", _Ids(world)), load.named(load.classes(world)):
            yield
    finally:
        globalLogPublisher.removeObserver(observe)
        if collecting:
            gc.enable()


def simulate(
    seed: int, steps: int, prepare: Callable[[Story], None] = lambda story: None, *, peace: bool = True
) -> Report:
    """The story of ``seed``, with so many steps of trouble and then peace. ``prepare(story)`` may change it before it begins."""
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="locum-sim-", dir=base) as folder:
        story = Story(seed, Path(folder))
        violation = ""
        try:
            with _surroundings(story):
                try:
                    prepare(story)
                    story.run(steps, peace)
                except Violation as broken:
                    violation = str(broken)
        finally:
            story.close()
        world = story.world
        return Report(
            seed, world.steps, story.model.commits, world.seconds, world.digest, violation, tuple(world.lately)
        )
