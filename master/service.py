"""The master: reads a configuration, is a member of the cluster, stands by for schedulers, runs tasks; and ``run`` for the CLI."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock, succeed

from .. import __version__
from ..config import ConfigError, MasterConfig, Secret, compare, load
from ..db import members, orders, upgrading
from ..db.database import Database
from ..db.errors import BadData, DatabaseAway, DatabaseError, OutcomeUnknown
from ..db.orders import Order
from ..db.urls import DatabaseUrl
from ..schedulers.base import Clustered
from ..schedulers.comparing import compared
from .activation import NotConfigured, Standing, bounded
from .configuring import Catalogue, Wanted, built_in, constructor_fault, entries_of, faults_among, wanted
from .incarnation import Accusation, Incarnation, lease_times, pause
from .logs import Log, set_level
from .loop import Loop
from .membership import wait_for_name
from .no_collections import no_collections
from .process import proved_dead, this_process
from .sources.base import ChangeSource
from .surroundings import RemoteDatabase, Surroundings
from .tasks.lost import LostTasks
from .tasks.runner import TaskRunner
from .try_jobdir import Try_Jobdir
from .try_userpass import Try_Userpass
from .unfreezing import Unfreezer

RETRY_S = 2.0
REJOIN_S = 0.5
JOINING_S = 2.0
"""how long a stop waits for a joining that is under way, so as to take it back"""
SLICE = 200
LIVE_SETTINGS = ("cluster.", "tasks.", "log.level")
RESTART_SETTINGS = ("cluster.crash_hint",)


class CannotStart(Exception):
    """This master cannot run; the text says why and what to do."""


@dataclass(slots=True)
class Setup:
    """Schedulers made from a configuration: (kind, name) -> what is wanted, and a started instance."""

    wanted: dict[tuple[str, str], Wanted] = field(default_factory=dict)
    instances: dict[tuple[str, str], Clustered] = field(default_factory=dict)
    kept: set[tuple[str, str]] = field(default_factory=set)
    """those that are as they were in the setup before, whose instances go on"""


class Master:
    """One master. ``start()``, then ``stop()`` (legal twice, or early); ``reconfigure()`` reads its file again."""

    log = Log()

    def __init__(
        self,
        config: MasterConfig,
        name: str,
        surroundings: Surroundings,
        environ: Mapping[str, str],
        *,
        read_config: Callable[[], MasterConfig] | None = None,
        on_end: Callable[[int], None] = lambda code: None,
        threads: bool = True,
    ) -> None:
        self.config = self._began_with = config
        self.name = name
        self._surroundings = surroundings
        self._environ = environ
        self._read_config = read_config or (lambda: load(config.file, environ))
        self._on_end = on_end
        self._threads = threads
        url = config.database.url
        self._url = DatabaseUrl.parse(url.reveal() if isinstance(url, Secret) else url, config.base_dir)
        self._process = this_process()
        self._catalogue = Catalogue()
        self._setup = Setup()
        self._incarnation: Incarnation | None = None
        self._joining: Deferred[None] | None = None
        """while it becomes a member: fires when that is over"""
        self._runner: TaskRunner | None = None
        self._lost_tasks: LostTasks | None = None
        self._lost_loop: Loop | None = None
        self._registered: dict[tuple[str, str], int] = {}
        self._builder_ids: dict[str, int] = {}
        self._stopping = False
        self._stopped: Deferred[None] | None = None
        self._draining = False
        self._impatient = False
        self._reconfigurations = DeferredLock()
        self._accusations: list[Accusation] = []
        self._wrote_at = surroundings.boottime()
        self._frozen_writers = Unfreezer(surroundings, self._process)
        self._unfreezer = Loop(surroundings.reactor, self._unfreeze, 0.5, "frozen writers", first_s=0.5)

    @property
    def incarnation(self) -> Incarnation | None:
        """The present membership; None before the first, and between two."""
        return self._incarnation

    # -- starting ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Join the cluster and begin; returns once this master stands by. CannotStart; ConfigError."""
        self._setup = await self._make(self.config, Setup())
        if self._url.dialect == "sqlite" and self._threads:
            self._unfreezer.start()  # before anything is written: whoever froze may have been the only master
        await self._prepare_database()
        if self._stopping:
            return
        await self._join([])
        self.log.info("master {name} is up", name=self.name)

    async def _prepare_database(self) -> None:
        pool = self._surroundings.new_pool("locum-start", 1)
        database = Database(self._url, clocks=self._surroundings.clocks, label="locum:start", pool_size=1)
        remote = RemoteDatabase(database, self._surroundings, pool.in_thread)
        try:
            while not self._stopping:
                try:
                    migrate = self.config.database.upgrade == "auto"
                    await pool.in_thread(upgrading.prepare, database, migrate=migrate)
                    taken = await self._reason_not_to_start(remote)
                except (DatabaseAway, OutcomeUnknown) as error:
                    self.log.warn("the database is away: {error}; trying again", error=error)
                    await pause(self._surroundings.reactor, RETRY_S)
                    continue
                except DatabaseError as error:
                    what = str(error) if str(self._url) in str(error) else f"{self._url}: {error}"
                    raise CannotStart(what) from None
                if taken is not None:
                    raise CannotStart(taken)
                return
        finally:
            pool.stop()
            database.close()

    async def _reason_not_to_start(self, remote: RemoteDatabase) -> str | None:
        elsewhere = await self._master_on_another_host(remote)
        if elsewhere is not None:
            return elsewhere
        for other in await remote.single(members.living):
            # A lease of a process of this machine that is proved dead need not be waited for.
            if other.name == self.name and proved_dead(other.process, self._process):
                await remote.single(
                    members.declare_lost, other.incarnation, other.beats, "its process is gone", lease_ended=False
                )
        taken = await wait_for_name(
            remote, self._surroundings, self.name, lease_times(self.config), self._pause_unless_stopping
        )
        return taken and f"{taken}; give this master another name (--name), or stop that one first"

    async def _master_on_another_host(self, remote: RemoteDatabase) -> str | None:
        """SQLite serves the masters of one host: its lease clock and its locks are that host's."""
        if self._url.dialect != "sqlite":
            return None

        async def foreign() -> dict[str, members.Master]:
            found = await remote.single(members.living)
            return {m.incarnation: m for m in found if m.process.boot_id != self._process.boot_id}

        before = {i: m.beats for i, m in (await foreign()).items()}
        deadline = self._surroundings.boottime() + 2 * self.config.cluster.heartbeat + 1.0
        while before and self._surroundings.boottime() < deadline:
            await self._pause_unless_stopping(min(0.5, self.config.cluster.heartbeat))
            for incarnation, master in (await foreign()).items():
                if master.beats != before.get(incarnation):
                    return (
                        f"master {master.name!r} uses this SQLite file on another host, {master.process.host};"
                        " masters on several hosts need PostgreSQL"
                    )
        return None

    async def _pause_unless_stopping(self, seconds: float) -> None:
        if self._stopping:
            raise CannotStart("it was stopped while it waited for its name to become free")
        await pause(self._surroundings.reactor, seconds)

    def _has_tasks(self) -> bool:
        """Whether there are tasks whose results only a member can record, even one that is stopping."""
        return self._runner is not None and self._runner.running > 0

    async def _join(self, olds: list[str]) -> None:
        """Become a member, under a new incarnation, and begin. Retries while the database is away.

        One that is stopping joins for the sake of its tasks alone. ``olds``: incarnations of this process whose rows may still say that they are up.
        """
        self._joining = Deferred()
        try:
            while not self._stopping or self._has_tasks():
                incarnation = Incarnation(
                    self._surroundings, self._url, self.config, self.name, self, threads=self._threads
                )
                joined = False
                try:
                    await incarnation.join(self._row(), olds)
                    joined = True
                    await self._settle_in(incarnation)
                    if not incarnation.membership.over:
                        return
                    why = "its lease ended while it joined"
                except BadData as error:
                    await incarnation.abandon("it was refused")
                    if self._stopping and self._runner is not None:  # its heir is here: nobody can record what it does
                        self._incarnation = None
                        self._runner.kill()
                        return
                    taken = f"another master named {self.name!r} has joined; give each master a name of its own"
                    self._fatal(f"the database refuses what it registers: {error}" if joined else taken)
                    return
                except DatabaseError as error:
                    why = str(error)
                self.log.warn("joining failed: {why}; trying again", why=why)
                self._incarnation = None
                olds = [*olds, incarnation.id]  # its row may be there: nobody knows
                await incarnation.abandon("joining failed")
                await pause(self._surroundings.reactor, REJOIN_S)
        finally:
            joining, self._joining = self._joining, None
            joining.callback(None)

    async def _settle_in(self, incarnation: Incarnation) -> None:
        await self._register(incarnation)
        self._incarnation = incarnation
        if "tasks" in self.config.master.roles:
            self._start_tasks(incarnation)
        await self._accuse(incarnation)
        standing = {} if self._stopping else {s.id: s for s in self._standing()}
        active = "schedulers" in self.config.master.roles and not self._stopping
        await incarnation.begin(standing, self._builder_ids, active=active)
        if self._stopping:
            await incarnation.end("it is stopping")

    async def _register(self, incarnation: Incarnation) -> None:
        rows = [(kind, name, w.type) for (kind, name), w in self._setup.wanted.items()]
        builders = [(b.name, b.max_parallel, b.on_lost, b.archive, b.collapse_requests) for b in self.config.builders]
        registered, self._builder_ids = await incarnation.register(rows, builders)
        self._registered = {key: row.id for key, row in registered.items()}

    async def _unfreeze(self) -> None:
        """SQLite: whoever froze while it was writing stops everybody; nothing but its end frees the lock."""
        if self._surroundings.boottime() - self._wrote_at < self.config.cluster.lease:
            return
        pool = self._surroundings.new_pool("locum-unfreeze", 1)
        database = Database(self._url, clocks=self._surroundings.clocks, label="locum:unfreeze", pool_size=1)
        try:
            await pool.in_thread(self._frozen_writers.look, database)
        finally:
            pool.stop()
            database.close()

    def _row(self) -> members.NewMaster:
        return members.NewMaster(
            incarnation="",
            name=self.name,
            roles=self.config.master.roles,
            digest=self.config.digest,
            version=__version__,
            process=self._process,
            lease_us=int(self.config.cluster.lease * 1e6),
        )

    def _start_tasks(self, incarnation: Incarnation) -> None:
        work = incarnation.databases.work
        if self._runner is not None and self._lost_tasks is not None:
            self._runner.rejoined(work, incarnation.id)
            self._lost_tasks.remote = work
            return
        builders = {b.name: b for b in self.config.builders}
        self._runner = TaskRunner(
            work,
            incarnation.id,
            builders,
            self._builder_ids,
            self.config.tasks,
            self._workdir(),
            self._surroundings,
            self._announce,
            self._environ,
        )
        self._runner.start()
        self._lost_tasks = LostTasks(
            work, self._process, self.config.tasks.lost_after, self._surroundings, self._announce
        )
        self._lost_loop = Loop(self._surroundings.reactor, self._lost_tasks.step, 6.0, "lost tasks", first_s=1.0)
        self._lost_loop.start()

    def _workdir(self) -> Path:
        configured = self.config.master.workdir
        return self.config.base_dir / (configured or f"work/{self.name}")

    # -- schedulers as configured -----------------------------------------------------------------------------------

    async def _make(self, config: MasterConfig, old: Setup) -> Setup:
        """Instances for a configuration; those that are equal to the old ones are the old ones. ConfigError."""
        found, faults = wanted(config, self._catalogue)
        found += built_in(config)
        entries = entries_of(config)
        zone_moved = old.wanted and config.cluster.timezone != self.config.cluster.timezone
        setup = Setup()
        for count, one in enumerate(found):
            key = (one.kind, one.name)
            if count % SLICE == SLICE - 1:
                await pause(self._surroundings.reactor, 0)
            was = old.instances.get(key)
            try:
                instance = one.make()
                print_ = compared(instance)
            except Exception:
                fault = constructor_fault(one, entries[key])
                faults.append(fault or entries[key].fault("", "its constructor raised once, but not when asked again"))
                continue
            same = (
                was is not None and old.wanted[key].digest == one.digest and compared(was) == print_ and not zone_moved
            )
            setup.wanted[key] = old.wanted[key] if same else one
            setup.instances[key] = was if was is not None and same else instance
            if same:
                setup.kept.add(key)
        if not faults:
            faults = faults_among(config, setup.instances)
        if faults:
            raise ConfigError(faults)
        for key, instance in setup.instances.items():
            if key not in setup.kept:
                try:
                    self._equip(instance)
                except Exception as error:  # tried again, with another instance, when it is to be activated here
                    self.log.error("scheduler {name}: startService failed: {error}", name=key[1], error=repr(error))
        return setup

    def _equip(self, instance: Clustered) -> None:
        if isinstance(instance, ChangeSource):
            instance.equip(self._surroundings, self._workdir() / ".sources")
        elif isinstance(instance, (Try_Jobdir, Try_Userpass)):
            instance.equip(self._surroundings, self.config.base_dir)
        try:
            instance.startService()  # type: ignore[no-untyped-call]
        except BaseException:
            instance.running = 0  # it may have up-called first
            raise

    def _standing(self) -> Iterable[Standing]:
        for key, one in self._setup.wanted.items():
            current = partial(self._current, key)
            yield Standing(self._registered[key], one.name, one.kind, one.digest, current, self._fresh(key))

    def _current(self, key: tuple[str, str]) -> Clustered | None:
        return self._setup.instances.get(key)

    def _fresh(self, key: tuple[str, str]) -> Callable[[], Clustered]:
        """Makes another instance of the scheduler as it is configured then; the last one's service ends."""

        def make() -> Clustered:
            one = self._setup.wanted.get(key)
            if one is None:
                raise NotConfigured(f"scheduler {key[1]!r} is not configured any more")
            instance = one.make()
            self._equip(instance)
            self._end_service(self._setup.instances[key])
            self._setup.instances[key] = instance
            return instance

        return make

    def _end_service(self, instance: Clustered) -> None:
        try:
            done = instance.stopService()  # type: ignore[no-untyped-call]
        except Exception as error:
            self.log.error("scheduler {name}: stopService failed: {error}", name=instance.name, error=repr(error))
            return
        if isinstance(done, Deferred):
            done.addErrback(lambda failure: self.log.error("stopService failed: {e}", e=failure.getErrorMessage()))

    # -- what incarnations say (Household) --------------------------------------------------------------------------

    def incarnation_over(self, incarnation: Incarnation, why: str) -> None:
        """Deactivate everything at once and join anew."""
        if incarnation is not self._incarnation or self._joining is not None:
            return  # whoever lets it join will see that it is over
        self._incarnation = None

        async def rejoin() -> None:
            await incarnation.abandon(why)
            if not self._stopping or self._has_tasks():
                await self._join([incarnation.id])

        Deferred.fromCoroutine(rejoin()).addErrback(lambda failure: self._fatal(failure.getTraceback()))

    def outdated(self, incarnation: Incarnation, why: str) -> None:
        """Stand down for good: nothing of this release may act on that database."""
        self._incarnation = None
        Deferred.fromCoroutine(_ended(incarnation, why)).addBoth(lambda _: self._fatal(f"{why}; install that release"))

    def beat(self, incarnation: Incarnation) -> None:
        """Commands may live on."""
        self._wrote_at = self._surroundings.boottime()
        if self._runner is not None:
            self._runner.beat(self._surroundings.boottime() + self.config.tasks.lost_after * 0.9)

    def accused(self, accusation: Accusation) -> None:
        """Count it now, or when this process is a member again."""
        self._accusations.append(accusation)
        if self._incarnation is not None:
            Deferred.fromCoroutine(self._accuse(self._incarnation)).addErrback(
                lambda failure: self.log.warn("noting a blocker: {e}", e=failure.getErrorMessage())
            )

    async def _accuse(self, incarnation: Incarnation) -> None:
        while self._accusations:
            a = self._accusations.pop(0)
            try:
                await incarnation.databases.work.write(orders.blocked, a.id, a.name, a.kind, None, a.seconds)
            except DatabaseError:
                self._accusations.append(a)
                raise

    def woken(self, topics: set[str]) -> None:
        """Something may be queued, or somebody's tasks lost."""
        if "tasks" in topics and self._runner is not None:
            self._runner.wake()
        if topics & {"answers", "finished"} and self._runner is not None:
            self._runner.heard()
        if "cancelled" in topics and self._runner is not None:
            self._runner.cancelled()
        if "masters" in topics and self._lost_loop is not None:
            self._lost_loop.soon()

    def ordered(self, order: Order) -> Deferred[Mapping[str, Any]]:
        """``reconfig`` or ``diff``."""
        if order.what in ("reconfig", "diff"):
            return Deferred.fromCoroutine(self.reconfigure(apply=order.what == "reconfig"))
        return succeed({"error": f"this release does not know the order {order.what!r}"})

    def _announce(self, *topics: str) -> None:
        if self._incarnation is not None:
            self._incarnation.announcer.say(topics)

    # -- reconfiguration --------------------------------------------------------------------------------------------

    async def reconfigure(self, *, apply: bool = True) -> Mapping[str, Any]:
        """Read the file again and touch only what differs: {"lines": [...]}; or {"error": ..., "faults": [...]}, and
        nothing has changed. ``apply=False`` only says what would. One that is asked for while another is under way comes
        after it: the file may have changed since that one read it."""
        await self._reconfigurations.acquire()
        try:
            return await self._reconfigure(apply)
        except ConfigError as error:
            faults = [str(fault) for fault in error.faults]
            for fault in faults:
                self.log.error("reconfiguration refused: {fault}", fault=fault)
            return {"error": "the file has faults; nothing was changed", "faults": faults}
        except Exception as error:  # whatever it is, the master goes on as it was
            self.log.error("reconfiguration failed: {error}", error=repr(error))
            return {"error": f"{type(error).__name__}: {error}"}
        finally:
            self._reconfigurations.release()

    async def _reconfigure(self, apply: bool) -> Mapping[str, Any]:
        with no_collections():
            new: MasterConfig = await self._surroundings.in_thread(self._read_config)
            difference = compare(self.config, new)
            setup = await self._make(new, self._setup)
        lines = [*difference.lines(), *self._restart_lines(new)]
        if not apply:
            self._unmake(setup)
            return {"lines": lines}
        try:
            await self._apply(self._catalogue.as_imported(new), setup)
        except BaseException:
            if self._setup is not setup:
                self._unmake(setup)
            raise
        self.log.info("reconfigured: {n} differences", n=len(lines))
        return {"lines": lines}

    def _unmake(self, setup: Setup) -> None:
        """What was made for a configuration that does not come into force."""
        for key, instance in setup.instances.items():
            if key not in setup.kept:
                self._end_service(instance)

    def _restart_lines(self, new: MasterConfig) -> list[str]:
        lines = [
            f"{setting.name}: restart needed"
            for setting in compare(self._began_with, new).settings  # not with the file as it was last read
            if not setting.name.startswith(LIVE_SETTINGS) or setting.name in RESTART_SETTINGS
        ]
        return lines + [
            f"plugin {target}: restart needed, Python is not reloaded" for target in self._catalogue.restart_needed(new)
        ]

    async def _apply(self, new: MasterConfig, setup: Setup) -> None:
        old_setup, old_ids = self._setup, dict(self._registered)
        changed = [k for k in setup.instances if k not in setup.kept]
        removed = [k for k in old_setup.instances if k not in setup.instances]
        incarnation = self._incarnation
        if incarnation is None:
            raise DatabaseAway("this master is not a member of the cluster just now; try again")
        moved_builders = [b for b in new.builders if b not in self.config.builders]
        if any(k not in old_ids for k in changed) or moved_builders:
            rows = [(k[0], k[1], setup.wanted[k].type) for k in changed]
            builders = [(b.name, b.max_parallel, b.on_lost, b.archive, b.collapse_requests) for b in new.builders]
            registered, self._builder_ids = await incarnation.register(rows, builders)
            self._registered = {**old_ids, **{key: row.id for key, row in registered.items()}}
        if new.log.level != self.config.log.level:
            set_level(new.log.level)
        for key in setup.kept:  # a fresh one may have been put in its place while the file was being read
            setup.instances[key] = old_setup.instances[key]
        self._setup, self.config = setup, new
        ids = self._registered
        for key in removed:
            ids.pop(key, None)
        standing = {s.id: s for s in self._standing()}
        digests = [(ids[k], setup.wanted[k].digest) for k in changed]
        try:
            await incarnation.restand(
                new, standing, digests, [old_ids[k] for k in removed], [ids[k] for k in changed], self._builder_ids
            )
        except DatabaseError as error:  # joining anew writes all of it, as it is configured now
            self.incarnation_over(incarnation, f"the database was away during a reconfiguration: {error}")
        for key in [*removed, *changed]:
            if key in old_setup.instances:
                self._end_service(old_setup.instances[key])
        if self._runner is not None and self._lost_tasks is not None:
            self._runner.reconfigured({b.name: b for b in new.builders}, self._builder_ids, new.tasks)
            self._lost_tasks.lost_after_s = new.tasks.lost_after

    # -- stopping ---------------------------------------------------------------------------------------------------

    def stop(self, why: str = "it was stopped") -> Deferred[None]:
        """Hand over at once, wait up to ``tasks.drain`` for steps, leave. A second call stops the steps too."""
        self._stopping = True
        if self._stopped is not None:
            self._impatient = True
            if self._draining and self._runner is not None:
                self._runner.kill()
            return self._stopped
        self._stopped = stopped = Deferred[None]()
        Deferred.fromCoroutine(self._stop(why)).addErrback(
            lambda failure: self.log.error("stopping: {trace}", trace=failure.getTraceback())
        ).addCallback(stopped.callback)
        return stopped

    async def _stop(self, why: str) -> None:
        if self._joining is not None:
            await bounded(self._surroundings.reactor, self._joining, JOINING_S)
        incarnation = self._incarnation
        if incarnation is not None:
            await incarnation.end(why)
        await self._unfreezer.stop()
        if self._lost_loop is not None:
            await self._lost_loop.stop()
        if self._runner is not None:
            self._draining = True
            if self._runner.running:
                self.log.info("waiting for {n} running tasks", n=self._runner.running)
            if not self._impatient:  # a second call may come before there is anything to drain
                await self._runner.drain(self.config.tasks.drain)
            await self._runner.kill()
        if self._joining is not None:
            await bounded(self._surroundings.reactor, self._joining, JOINING_S)
        incarnation, self._incarnation = self._incarnation, None  # another one, if its lease has lapsed meanwhile
        if incarnation is not None:
            await incarnation.leave(why)
        for instance in self._setup.instances.values():
            self._end_service(instance)
        self.log.info("master {name} has stopped", name=self.name)

    def _fatal(self, why: str) -> None:
        self.log.error("master {name} ends: {why}", name=self.name, why=why)
        self._on_end(1)


async def _ended(incarnation: Incarnation, why: str) -> None:
    await incarnation.abandon(why)


def run(config: MasterConfig, *, name: str, config_path: Path) -> int:
    """Run a master in the foreground until it is stopped; the exit code. The only place that has the real reactor."""
    from .process_main import run_process

    return run_process(config, name=name, config_path=config_path)
