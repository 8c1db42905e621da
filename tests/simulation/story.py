"""One simulated story: masters start, work comes in, everything goes wrong that can, then all is left in peace and looked at."""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

from locum.config import MasterConfig
from locum.db import changes, messages, orders, upgrading
from locum.db.changes import NewChange
from locum.db.database import Database, HostClocks
from locum.db.members import Process as Identity
from locum.db.naming import Disabled, NotFound, Refused
from locum.db.urls import DatabaseUrl
from locum.master import committer as committer_module
from locum.master import incarnation as incarnation_module
from locum.master import service
from locum.master.tasks import lost as lost_module
from twisted.internet.defer import Deferred
from twisted.logger import formatEvent, globalLogPublisher

from . import load, short_cut
from .model import Model
from .plan import Op, Plan
from .world import SECOND, Host, Process, Violation, World

PEACE_S = 150.0
"""How soon all must be well again once everything works."""
SOON_S = 2.0
"""To the lease and the heartbeat: for answers to come and turns to commit, when nothing is slow."""

# Each tells which rows a statement has written, even of a transaction that is rolled back.
_WATCHED = {
    "schedulers": ("new.id",),
    "tasks": ("new.id",),
    "buildsets": ("new.id",),
    "messages": ("new.id",),
    "changes": ("new.number",),
    "failures": ("new.scheduler_id", "new.cause"),
    "ownership": ("new.scheduler_id", "new.term"),
    "announcements": ("new.topic",),
}


def _triggers() -> str:
    made = []
    for table, keys in _WATCHED.items():
        for event in ("INSERT", "UPDATE"):
            key = ", ".join(keys)
            made.append(
                f"CREATE TRIGGER sim_{table}_{event} AFTER {event} ON {table}"
                f" BEGIN SELECT sim_touched('{table}', {key}); END;"
            )
    for event in ("INSERT", "UPDATE OF state"):
        made.append(
            f"CREATE TRIGGER sim_masters_{event[:6]} AFTER {event} ON masters"
            f" BEGIN SELECT sim_touched('masters', new.incarnation); END;"
        )
    return "\n".join(made)


@dataclass(frozen=True, slots=True)
class Report:
    """How a story went. ``lived_s``: every second of it was simulated; ``skipped_s``: of the calendar, in which nothing
    happened. ``violation`` '' if every promise was kept; ``faults``: what went wrong, as ``Plan.faults`` takes it."""

    plan: Plan
    steps: int
    commits: int
    lived_s: float
    skipped_s: float
    digest: str
    violation: str
    at_s: float
    faults: tuple[str, ...]
    lately: tuple[str, ...]
    cpu_s: float
    kinds: dict[str, int]

    @property
    def simulated_s(self) -> float:
        """By the calendar."""
        return self.lived_s + self.skipped_s

    def __str__(self) -> str:
        head = (
            f"seed {self.plan.seed} ({self.plan.shape}, {self.plan.masters} masters, {len(self.plan.specs)} schedulers):"
            f" {self.steps} steps, {self.commits} turns' commits, {len(self.faults)} faults, {self.lived_s:.0f} s lived,"
            f" {self.simulated_s / 3600:.1f} h simulated, {self.cpu_s:.1f} s of CPU, {self.digest}"
        )
        if not self.violation:
            return head
        return "\n".join((*self.lately, "", head, f"VIOLATION: {self.violation}"))


class Story:
    """A plan that is carried out."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.folder = folder
        path = folder / "locum.sqlite"
        shutil.copy(_template(), path)
        self.world = world = World(plan.seed, dict(plan.chances), plan.faults)
        world.wake_lost = plan.wake_lost
        world.wake_late_s = plan.wake_late_s
        world.crash_hint = plan.crash_hint
        world.lease_by_wall = plan.several_hosts
        if plan.several_hosts:
            world.hosts = {name: self._host(name) for name in plan.names}
        self.specs = plan.specs
        self.model = Model(world, path, self.specs)
        self.tasks = plan.shape == "tasks"
        self._variants = {name: load.Variant() for name in plan.names}
        self._configurations: dict[load.Variant, MasterConfig] = {}
        self._generation = 0
        url = DatabaseUrl.parse(f"sqlite:///{path}", folder)
        clocks = HostClocks(lambda: world.wall_us, lambda: world.lease_us)
        self.people = Database(url, clocks=clocks, label="locum:people", pool_size=1)
        self.peace = False
        self.requests = 0
        world.on_death = self._restart_later

    def _host(self, name: str) -> Host:
        roll = self.world.roll
        off_s = (roll("off", name) - 0.5) * 4
        return Host(int(off_s * SECOND), 1 + (roll("drift", name) - 0.5) / 250, int(roll("booted", name) * 1e12))

    def configuration(self, variant: load.Variant) -> MasterConfig:
        """What a master's file says in one of its variants."""
        if variant not in self._configurations:
            p = self.plan
            self._configurations[variant] = load.configuration(
                self.specs, variant, self.folder, p.lease, p.heartbeat, tasks=self.tasks
            )
        return self._configurations[variant]

    # -- the run ------------------------------------------------------------------------------------------------------

    def run(self, peace: bool) -> None:
        """Trouble as planned, then (if wanted) peace. Violation."""
        world = self.world
        for name in self.plan.names:
            self._boot(name)
        for op in self.plan.ops:
            world.later(int(op.at_s * SECOND), "", lambda op=op: self._do(op), None)
        world.run_until(world.now_us + int(self.plan.lasts_s * SECOND))
        self.model.check_whole()
        if peace:
            self._make_peace()
            self._until_all_is_well(PEACE_S)
            if self.world.roll("somebody goes") < 0.4:
                world.run_until(max(world.now_us, world.slow_until_us))  # a fault until then: a stop waits for its call
                self._hand_over()
            self.model.check_whole()

    def _make_peace(self) -> None:
        world = self.world
        world.note("peace")
        self.peace = True
        world.faults.over = True
        world.outage = False
        world.wake_lost = 0.0
        world.wake_late_s = 0.01
        for process in world.processes:
            process.cut_off = False
            process.thaw()
        for row in list(self.model.rows.values()):
            if not row.enabled:
                self._order(orders.enable, row.name, "sim", "", row.kind)
        self._reconfigure(None, load.Variant())

    def _until_all_is_well(self, within_s: float) -> None:
        """Everything held, active and up to date; what has failed often is tried again late, so that is waited for."""
        world = self.world
        limit = world.now_us + int(within_s * SECOND)
        longest = world.now_us + int(4_000 * SECOND)
        while True:
            world.run_until(world.now_us + 2 * SECOND)
            problem = self._unsettled() or self.model.what_is_not_well()
            if not problem:
                return
            if self._patience_needed() and world.now_us < longest:
                world.run_until(world.now_us + 30 * SECOND)
                limit = max(limit, world.now_us + int(PEACE_S * SECOND))
            elif world.now_us >= limit:
                raise Violation(f"after {within_s:.0f} s in which nothing went wrong: {problem}")

    def _unsettled(self) -> str:
        """Masters that are to run, and do not run yet as they are configured last."""
        for name in self.plan.names:
            there = [p for p in self.world.processes if p.name == name]
            if not there or there[0].master.incarnation is None:
                return f"{name} is not up"
            if there[0].master.config is not there[0].config and not there[0].leaving:
                self._reload(there[0])
                return f"{name} has not taken over its configuration"
        return ""

    def _patience_needed(self) -> bool:
        now = self.world.wall_us
        return any(
            self.model.raw.execute(question, (now - 30 * SECOND,)).fetchone()
            for question in (
                "SELECT 1 FROM failures WHERE retry_at > ?",
                "SELECT 1 FROM standby b JOIN masters m ON m.incarnation = b.incarnation WHERE m.state = 'up' AND retry_at > ?",
            )
        )

    def _hand_over(self) -> None:
        """P9: of one more master that goes, everything is active elsewhere within the bound for how it went."""
        world = self.world
        if len(world.processes) < 2:
            return
        process = world.processes[int(world.roll("who goes") * len(world.processes))]
        how = world.choice(("stopped", "killed", "frozen"), "how it goes")
        incarnation = process.master.incarnation
        if incarnation is None or process.leaving:
            return
        held = set(incarnation.activation.tenures)
        lease_s, heartbeat_s = process.master.config.cluster.lease, process.master.config.cluster.heartbeat
        bound_s = lease_s + heartbeat_s + 1 + SOON_S
        if how == "stopped":
            bound_s = SOON_S
            process.stop()
        elif how == "killed":
            if self.plan.proof or self.plan.crash_hint:
                bound_s = SOON_S + (0 if self.plan.crash_hint else heartbeat_s)
            process.kill()
        else:
            process.freeze(1000)
        world.note(f"{process} is {how}: {len(held)} schedulers must be active elsewhere within {bound_s} s")
        world.run_until(world.now_us + int(bound_s * SECOND))
        for i in sorted(held):
            problem = self.model.what_is_not_held(self.model.rows[i], but=process)
            if problem:
                raise Violation(f"P9: {bound_s} s after {process} was {how}: {problem}")
        process.thaw()

    def close(self) -> None:
        """Leave nothing behind."""
        self.world.on_death = lambda process: None
        for process in list(self.world.processes):
            process.kill()
        self.people.close()
        self.model.raw.close()

    # -- what happens -------------------------------------------------------------------------------------------------

    def _do(self, op: Op) -> None:
        if self.peace:
            return
        detail: Any = op.detail
        world = self.world
        self.model.kinds[op.deed] += 1
        if op.deed == "change":
            self._add_changes(*detail)
        elif op.deed == "push":
            world.note(f"people: push {detail[0]}")
            world.upstream += detail[0]
        elif op.deed == "outage":
            world.outage = True
            world.note("the database is away")
            world.later(int(detail[0] * SECOND), "the database is back", self._back, None)
        elif op.deed in ("disable", "enable", "move", "force", "retry", "rebalance"):
            self._people_do(op.deed, detail)
        elif op.deed == "clock":
            world.note(f"the wall clock is set {detail[0]:+} s")
            world.wall_offset_us += int(detail[0] * SECOND)
            world.jumped = True
        elif op.deed == "host clock":
            world.note(f"the clock of {detail[0]}'s host is set {detail[1]:+} s")
            world.hosts[detail[0]].off_us += int(detail[1] * SECOND)
        elif op.deed == "roll":
            for process in list(world.processes):
                process.stop()
        elif op.deed == "reconfigure":
            self._plan_variant(*detail)
        elif op.deed == "idle":
            self._skip_idle()
        else:
            self._harm(op.deed, *detail)

    def _people_do(self, deed: str, detail: Any) -> None:
        name = detail[0] if detail else ""
        kind = self.specs[name].kind if name else ""
        if deed == "disable":
            self._order(orders.disable, name, "for a while", "sim", kind)
        elif deed == "enable":
            self._order(orders.enable, name, "sim", "", kind)
        elif deed == "move":
            self._order(orders.move, name, detail[1], "sim", "", kind)
        elif deed == "retry":
            self._order(orders.retry_failure, name, None, "sim", kind)
        elif deed == "rebalance":
            self._order(orders.rebalance, "sim")
        elif kind == "scheduler":
            self.requests += 1
            self._order(messages.send, name, f"f{self.requests}", "force", {"reason": "forced"}, "sim")

    def _harm(self, deed: str, name: str, seconds: float = 0.0) -> None:
        process = next((p for p in self.world.processes if p.name == name), None)
        if process is None:
            return
        if deed == "kill":
            process.kill()
        elif deed == "stop":
            process.stop()
        elif deed == "freeze":
            process.freeze(seconds)
        elif deed == "block":
            process.block(seconds)
        elif deed == "cut off":
            process.cut_off = True
            self.world.note(f"{process}: cut off from the database")

            def join_up() -> None:
                process.cut_off = False

            self.world.later(int(seconds * SECOND), "", join_up, None)

    def _skip_idle(self) -> None:
        """Go on to a few seconds before something falls due, if that is far away."""
        found = self.model.raw.execute("SELECT min(due) FROM timers WHERE due > ?", (self.world.wall_us,)).fetchone()
        if found[0] is not None:
            left_us = (
                int(found[0]) - self.world.wall_us - int((3 + 9 * self.world.roll("early", str(found[0]))) * SECOND)
            )
            if left_us > 20 * SECOND:
                self.world.skip(left_us)

    def _back(self) -> None:
        self.world.outage = False

    def _restart_later(self, process: Process) -> None:
        wait_s = self.world.choice((0.1, 1.0, 5.0, 20.0), f"{process} starts again")
        self.world.later(int(wait_s * SECOND), "", lambda: self._boot(process.name), None)

    def _boot(self, name: str) -> None:
        variant = self._variants[name]
        # A file with faults keeps a master from starting; it is mended before.
        variant = self._variants[name] = replace(variant, faulty=False)
        self.world.boot(name, self.configuration(variant))

    # -- reconfiguring ------------------------------------------------------------------------------------------------

    def _plan_variant(self, name: str | None, without: Any, changed: Any, heartbeat: str | None, faulty: bool) -> None:
        self._generation += 1
        generations = tuple((c, self._generation) for c in changed)
        self._reconfigure(name, load.Variant(tuple(without), generations, heartbeat or "", faulty))

    def _reconfigure(self, name: str | None, variant: load.Variant) -> None:
        """Somebody edits the files of this master, or of all of them, and has them read again."""
        for one in self.plan.names if name is None else [name]:
            self._variants[one] = variant
        for process in list(self.world.processes):
            if name in (None, process.name) and not process.leaving:
                process.config = self.configuration(variant)
                self._reload(process)

    def _reload(self, process: Process) -> None:
        """P8: what is equal in both configurations goes on as it was; a faulty one changes nothing."""
        master, world, wanted = process.master, self.world, process.config
        incarnation = master.incarnation
        before = {} if incarnation is None else dict(incarnation.activation.tenures)
        old = master.config
        process.differs |= _differing(old, wanted)
        world.note(f"{process}: is reconfigured")

        def done(answer: Any) -> None:
            world.note(f"{process}: reconfigured: {answer.get('error', 'done')}")
            # Judged by the file as it was when it was read: somebody may have mended it since this was asked for. One
            # comes after the other, so what was read last is what this answer is about.
            if _faulty(process.read) and (not answer.get("error") or master.config is not process.ran):
                world.violate(f"P8: {process} took over a configuration with faults: {answer}")
            if _faulty(master.config):
                world.violate(f"P8: {process} runs by a configuration with faults")
            if "error" in answer or master.incarnation is not incarnation or incarnation is None:
                return
            for i, tenure in incarnation.activation.tenures.items():
                was = before.get(i)
                if was is not None and was is not tenure and was.term == tenure.term:
                    world.violate(f"P8: {process}: {tenure.name} was begun anew within term {tenure.term}")

        def begin() -> None:
            Deferred.fromCoroutine(master.reconfigure()).addCallback(done)

        world.later(1, "", begin, process)

    # -- what people do -----------------------------------------------------------------------------------------------

    def _order(self, what: Callable[..., Any], *args: Any) -> Any:
        """A person's deed, in one transaction; what the command line refuses is refused here."""
        self.world.note(f"people: {what.__name__} {args}")
        self.world.touched.clear()
        result: Any
        try:
            result = self.people.write(what, *args)
        except (Refused, Disabled, NotFound):
            return None
        self.model.performed_by_people(what, args, result)
        self.world.wake({"schedulers", "masters", "changes", "messages"})
        return result

    def _add_changes(self, branches: Any, again: bool) -> None:
        new = []
        for branch in branches:
            self.requests += 1
            new.append(_change(f"r{self.requests}", branch))
        self._order(changes.add, new)
        if again:
            self._order(changes.add, new)


def _change(request_id: str, branch: str) -> NewChange:
    return NewChange(
        request_id=request_id, who="sim", files_json="[]", comments="", branch=branch, revision=request_id, category=None,
        repository="repo", codebase="", project="", properties_json="{}", revlink="", committer=None, when_at=None,
    )  # fmt: skip


def _faulty(config: MasterConfig) -> bool:
    """Whether whoever makes its schedulers finds a fault."""
    return any(entry.name == "faulty" for entry in config.schedulers)


def _differing(old: MasterConfig, new: MasterConfig) -> set[str]:
    """Names of what is not the same in both, worked out from the text of the entries."""

    def entries(config: MasterConfig) -> dict[str, str]:
        every = (*config.schedulers, *config.change_sources)
        return {e.name: json.dumps([e.type, dict(e.arguments)], default=str, sort_keys=True) for e in every}

    a, b = entries(old), entries(new)
    return {name for name in a.keys() | b.keys() if a.get(name) != b.get(name)}


# -- the surroundings -------------------------------------------------------------------------------------------------


class _Ids:
    """Stands in for ``secrets`` where incarnations get their ids."""

    def __init__(self, world: World) -> None:
        self._world = world

    def token_hex(self, n: int) -> str:
        point = f"{self._world.running} {self._world.next_number()}"
        return f"{int(self._world.roll('id', point) * 2**48):0{2 * n}x}"


@cache
def _template() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="locum-sim-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "locum.sqlite"
    clocks = HostClocks(lambda: 1, lambda: 1)
    database = Database(DatabaseUrl.parse(f"sqlite:///{path}", folder), clocks=clocks, label="locum:sim", pool_size=1)
    database.write(upgrading.upgrade)
    database.close()
    raw = sqlite3.connect(path)
    raw.executescript(_triggers())
    raw.close()
    return path


class _Processes:
    """Which process of which host a master runs in; and its end can be proved where the story says so."""

    def __init__(self, story: Story) -> None:
        self._world = story.world
        self._plan = story.plan

    def this_process(self) -> Identity:
        """The one whose event happens."""
        running = self._world.running
        assert running is not None
        host = running.name if self._plan.several_hosts else "host"
        return Identity(host, f"id of {host}", "one boot", running.pid, running.pid)

    def proved_dead(self, other: Any, me: Any, proc: object = None) -> str:
        """As the real one says it."""
        process = self._world.pids.get(other.pid)
        if not self._plan.proof or other.host != me.host or process is None or not process.dead:
            return ""
        return f"its process {other.pid} has ended"


@contextlib.contextmanager
def _surroundings(story: Story, fast: bool) -> Iterator[None]:
    """Ids from the seed, our scheduler classes, processes that are none, watched connections, logs as remarks."""
    world = story.world
    processes = _Processes(story)
    connect, begin = Database._connect_sqlite, incarnation_module.Incarnation.begin
    at_once = {**incarnation_module.AT_ONCE, "sqlite": story.plan.at_once}

    def watched(self: Database) -> sqlite3.Connection:
        raw = connect(self)
        raw.execute("PRAGMA synchronous=OFF")
        raw.create_function("sim_touched", -1, lambda *row: world.touched.append(row))
        return raw

    async def joined(self: Any, *args: Any, **kwargs: Any) -> None:
        process = world.running
        await begin(self, *args, **kwargs)
        if process is not None:
            world.joined(process, self)

    def observe(event: dict[str, Any]) -> None:
        level = event.get("log_level")
        if level is not None and level.name in ("warn", "error", "critical"):
            failure = event.get("log_failure")
            text = formatEvent(event) + (failure.getTraceback() if failure is not None else "")
            world.remark(f"{world.running}: {text}")
            if "Traceback" in text or level.name == "critical":
                world.violate(f"an error that nobody expected: {text}")

    collecting = gc.isenabled()
    gc.disable()  # a dropped coroutine's ``finally`` would run at a moment of its own
    globalLogPublisher.addObserver(observe)
    patches = (
        short_cut.taken() if fast else contextlib.nullcontext(),
        mock.patch.object(incarnation_module, "secrets", _Ids(world)),
        mock.patch.object(incarnation_module, "AT_ONCE", at_once),
        # In every third story two that wait for their commit are many, and what falls due waits for them.
        mock.patch.object(committer_module, "FULL", committer_module.FULL if story.plan.seed % 3 else 2),
        mock.patch.object(incarnation_module, "this_process", processes.this_process),
        mock.patch.object(incarnation_module, "proved_dead", processes.proved_dead),
        mock.patch.object(incarnation_module.Incarnation, "begin", joined),
        mock.patch.object(service, "this_process", processes.this_process),
        mock.patch.object(service, "proved_dead", processes.proved_dead),
        mock.patch.object(lost_module, "proved_dead", processes.proved_dead),
        mock.patch.object(Database, "_connect_sqlite", watched),
        load.named(load.classes(world)),
    )
    try:
        with contextlib.ExitStack() as stack:
            for patch in patches:
                stack.enter_context(patch)
            yield
    finally:
        globalLogPublisher.removeObserver(observe)
        if collecting:
            gc.enable()


def simulate(plan: Plan, *, peace: bool = True, fast: bool = True) -> Report:
    """Carry out ``plan``, and then (if wanted) leave everything in peace. ``fast``: by the short cut to the driver."""
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    began = time.process_time()
    _template()
    gc.freeze()  # what is here already need not be looked through after each story
    with tempfile.TemporaryDirectory(prefix="locum-sim-", dir=base) as folder:
        violation = ""
        story = Story(plan, Path(folder))
        with _surroundings(story, fast):
            try:
                story.run(peace)
            except Violation as broken:
                violation = str(broken)
            finally:
                story.close()
    world = story.world
    report = Report(
        plan, world.steps, story.model.commits, world.seconds, world.skipped_us / SECOND, world.digest, violation,
        world.seconds, tuple(world.faults.happened), tuple(world.lately), time.process_time() - began,
        dict(story.model.kinds),
    )  # fmt: skip
    gc.collect()
    return report
