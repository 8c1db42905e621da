"""One membership of this process in the cluster, from joining to its end, with everything that is bound to it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from sqlalchemy.engine import Connection
from twisted.internet.defer import Deferred

from ..config import MasterConfig
from ..db import buildsets, changes, holding, members, orders, wakeups
from ..db.builders import BuilderRow, register_builders
from ..db.database import Bounds, Database
from ..db.errors import DatabaseError
from ..db.holding import Registered
from ..db.urls import DatabaseUrl
from .activation import Activation, Standing
from .alarms import Alarms
from .announcer import Announcer
from .clock import DatabaseClock
from .committer import AT_ONCE, Committer, Committers
from .deliveries import Deliveries
from .feed import Feed
from .ids import IdBlock
from .logs import Log
from .loop import Loop
from .membership import LeaseTimes, Membership
from .process import proved_dead, this_process
from .reading import change_of, finished_of
from .surroundings import Pool, RemoteDatabase, Surroundings
from .tenure import Tenure
from .tools import Tools
from .watchman import BlockWatch, FileWatchman, Listener, RingWatch

FALLBACK_S = 10.0
BLOCKED_AFTER_S = 3.0
OTHERS_FIRST_S = 0.2
"""Closing a dozen connections and ending a process takes the processor, on one machine, from those who take over just then."""


@dataclass(frozen=True, slots=True)
class Accusation:
    """A scheduler blocked this process for so long that it was no member any more when that could be said."""

    id: int
    name: str
    kind: str
    seconds: float


class Household(Protocol):
    """What an incarnation needs of its process."""

    def incarnation_over(self, incarnation: Incarnation, why: str) -> None:
        """It must not act any more."""

    def outdated(self, incarnation: Incarnation, why: str) -> None:
        """The database has become one that this release cannot work with: stand down for good."""

    def beat(self, incarnation: Incarnation) -> None:
        """A heartbeat was answered."""

    def accused(self, accusation: Accusation) -> None:
        """To be written once this process is a member again."""

    def woken(self, topics: set[str]) -> None:
        """Something is new about topics that are not the schedulers' own."""

    def ordered(self, order: orders.Order) -> Deferred[Mapping[str, Any]]:
        """Carry out what a person asked of this master; its answer."""


@dataclass(frozen=True, slots=True)
class Databases:
    """One database, with connections and threads that cannot be used up by anything else for beats and commits."""

    work: RemoteDatabase
    beats: RemoteDatabase
    commits: RemoteDatabase
    pools: tuple[Pool, ...]

    @classmethod
    def open(cls, url: DatabaseUrl, surroundings: Surroundings, label: str, config: MasterConfig) -> Databases:
        """Connections are made when they are first used."""
        bounds = Bounds(statement_s=config.database.statement_timeout)
        # A beat that takes longer than until the lease would be untrusted is of no use to anybody.
        beat_s = max(1.0, config.cluster.lease / 2)
        short = Bounds(connect_s=2.0, lock_s=beat_s, statement_s=beat_s, transaction_s=beat_s)
        pools = []

        def remote(purpose: str, size: int, bound: Bounds) -> RemoteDatabase:
            pool = surroundings.new_pool(f"locum-{purpose}", size)
            pools.append(pool)
            database = Database(url, clocks=surroundings.clocks, label=label, pool_size=size, bounds=bound)
            return RemoteDatabase(database, surroundings, pool.in_thread)

        work = remote("work", config.database.pool_size, bounds)
        beats, commits = remote("beat", 1, short), remote("commit", AT_ONCE[url.dialect], bounds)
        return cls(work, beats, commits, tuple(pools))

    def connect_ahead(self) -> None:
        """Make all connections before they are needed: a takeover and its first turns do not wait for them."""
        for remote in (self.commits, self.work):
            for _ in range(remote.database.pool_size):
                remote.read(_nothing).addErrback(lambda failure: None)  # whoever asks for something will be told

    def cut_overdue(self) -> None:
        """Break what has waited for too long."""
        for remote in (self.work, self.beats, self.commits):
            remote.database.cut_overdue()

    def close(self) -> None:
        """Close all connections and let the threads end."""
        for pool in self.pools:
            pool.stop()
        for remote in (self.work, self.beats, self.commits):
            remote.database.close()


class Incarnation:
    """Everything of one incarnation. ``end()`` or ``abandon()`` once; nothing of it acts afterwards."""

    log = Log()

    def __init__(
        self,
        surroundings: Surroundings,
        url: DatabaseUrl,
        config: MasterConfig,
        name: str,
        household: Household,
        *,
        threads: bool = True,
        new_id: Callable[[], str] = lambda: secrets.token_hex(10),
    ) -> None:
        self.id = new_id()
        self.name = name
        self._surroundings = surroundings
        self._household = household
        self._config = config
        self._threads = threads
        self.databases = Databases.open(url, surroundings, f"locum:{self.id}", config)
        reactor, work = surroundings.reactor, self.databases.work
        self.clock = DatabaseClock(surroundings)
        self.announcer = Announcer(work, self.woken)
        self.membership = Membership(
            surroundings,
            self.databases.beats,
            self.id,
            lease_times(config),
            self.clock,
            lambda: None if self.tools.running is None else self.tools.running.name,
            self._beat,
            self._lost,
            lambda why: self._household.outdated(self, why),
            lambda master: self._peer_lost(master.incarnation),
            self._members,
            lambda process: proved_dead(process, this_process()),
        )
        commits = self.databases.commits
        may_act, said = self.membership.good, self.announcer.say

        def room() -> None:
            self.tools.alarms.go_on()

        committer = Committers(
            [Committer(reactor, commits, self.id, may_act, said, on_room=room) for _ in range(AT_ONCE[url.dialect])]
        )

        def more() -> None:
            self._deliveries.pump_all()

        self.tools = Tools(
            reactor=reactor,
            remote=work,
            clock=self.clock,
            alarms=Alarms(reactor, self.clock, is_full=committer.is_full),
            changes=Feed(work, changes.after, change_of, more),
            finished=Feed(work, buildsets.finished_after, finished_of, more),
            buildset_ids=IdBlock(work, "buildsets"),
            task_ids=IdBlock(work, "tasks"),
            committer=committer,
            timezone=config.cluster.timezone,
            turn_timeout_s=config.cluster.turn_timeout,
            note_failure=lambda *failure: self.activation.note_failure(*failure),  # noqa: PLW0108 - there is no activation yet
            boottime=surroundings.boottime,
            long_s=min(BLOCKED_AFTER_S, config.cluster.lease / 2),
        )
        self.activation = Activation(
            reactor,
            work,
            self.membership,
            self.tools,
            on_freed=lambda: self.announcer.say({"schedulers"}),
            on_active=lambda tenure: self._messages.soon(),
        )
        self._deliveries = Deliveries(self.activation, work, self.id)
        self._fallback = Loop(reactor, self._look_everywhere, FALLBACK_S, "fallback", first_s=FALLBACK_S)
        self._feeds = Loop(reactor, self._deliveries.feeds, FALLBACK_S * 2, "reading what is new", first_s=0.5)
        self.tools.changes.ask = self.tools.finished.ask = self._feeds.soon
        self._messages = Loop(reactor, self._deliveries.messages, FALLBACK_S, "messages", first_s=0.5)
        self._failed = Loop(reactor, self._deliveries.failed, FALLBACK_S, "failed tasks", first_s=0.5)
        self.tools.look_for_failed = self._failed.soon
        self._orders = Loop(reactor, self._read_orders, FALLBACK_S, "orders", first_s=0.5)
        self._cutter = Loop(reactor, self._cut, 1.0, "bounds", first_s=1.0)
        self._listener: Listener | FileWatchman | None = None
        self._ring: RingWatch | None = None
        self._block_watch: BlockWatch | None = None
        self._orders_done: set[int] = set()
        self._handed_over = False
        self._ended = False

    # -- joining ----------------------------------------------------------------------------------------------------

    async def join(self, new: members.NewMaster, old_incarnations: Iterable[str]) -> None:
        """Insert our row. BadData: another of our name is up. From here on the lease runs."""
        asked_at = self._surroundings.boottime()
        row = replace(new, incarnation=self.id)
        await self.databases.beats.write(members.join, row, *old_incarnations)
        self.membership.start(asked_at)
        self._cutter.start()

    async def register(
        self, wanted: Iterable[tuple[str, str, str]], builders: Iterable[BuilderRow]
    ) -> tuple[dict[tuple[str, str], Registered], dict[str, int]]:
        """Rows for schedulers (kind, name, type) and builders that have none yet."""
        return await self.databases.work.write(_register, list(wanted), list(builders))

    async def begin(self, standing: Mapping[int, Standing], builder_ids: Mapping[str, int], *, active: bool) -> None:
        """Stand by for these, and (with ``active``) take what is to be had."""
        self.tools.builders = builder_ids
        self.activation.standing = dict(standing)
        digests = [(s.id, s.digest) for s in standing.values()]
        if active:
            await self.databases.work.write(holding.stand_by, self.id, digests)
        while not self.clock.known:  # until the first heartbeat is answered
            if self.membership.over:
                return
            await pause(self._surroundings.reactor, 0.01)
        newest, finished = await self.databases.work.read(_newest)
        self.tools.changes.begin(newest)
        self.tools.finished.begin(finished)
        if self._threads:
            self._start_threads()
        self.announcer.say({"masters", "schedulers"})
        if active:
            self.activation.start()
        for loop in (self._fallback, self._feeds, self._messages, self._failed, self._orders):
            loop.start()

    async def restand(
        self,
        config: MasterConfig,
        standing: Mapping[int, Standing],
        digests: list[tuple[int, str]],
        removed: list[int],
        changed: list[int],
        builder_ids: Mapping[str, int],
    ) -> None:
        """Another configuration: only what is removed or changed is touched."""
        self._config = config
        self.tools.turn_timeout_s = config.cluster.turn_timeout
        self.tools.timezone = config.cluster.timezone
        self.tools.builders = builder_ids
        if lease_times(config) != self.membership.times:
            self.membership.retime(lease_times(config))

        def record(conn: Connection) -> None:
            holding.stand_by(conn, self.id, digests)
            holding.withdraw(conn, self.id, removed)
            members.set_digest(conn, self.id, config.digest)

        if removed or changed:
            await self.activation.reconfigured(removed, changed, standing, record)
        else:
            await self.databases.work.single(members.set_digest, self.id, config.digest)

    def _start_threads(self) -> None:
        self.databases.connect_ahead()
        call = self._surroundings.reactor.callFromThread
        hint = self._config.cluster.crash_hint == "auto"
        database = self.databases.work.database
        if database.dialect == "postgresql":
            self._listener = Listener(database, self.id, hint, call, self.woken)
            if hint:
                self._ring = RingWatch(database, self.id, call, self._peer_lost)
                self._ring.start()
        else:
            self._listener = FileWatchman(database, self.id, hint, call, self.woken, self._peer_lost)
        self._listener.start()
        # Before others take over: it is then still this incarnation that holds the culprit.
        self._block_watch = BlockWatch(call, self._surroundings.boottime, self.tools, self._blocked)
        self._block_watch.start()

    # -- what happens -----------------------------------------------------------------------------------------------

    def woken(self, topics: set[str]) -> None:
        """Something is new."""
        if self._ended:
            return
        if topics & {"masters", "schedulers"}:
            self.activation.look()
        if "masters" in topics:
            self.membership.look()
        if topics & {"changes", "finished"} or ("tasks" in topics and self.tools.news.wanted):
            self._feeds.soon()
        if "messages" in topics:
            self._messages.soon()
        if "failed" in topics:
            self._failed.soon()
        if "schedules" in topics:
            self._look_at_schedules()
        if "orders" in topics:
            self._orders.soon()
        self._household.woken(topics)

    def _beat(self, beat: members.Beat) -> None:
        self.tools.alarms.rearm()
        self.activation.beat(beat)
        self._household.beat(self)

    def _lost(self, why: str) -> None:
        self.log.error("master {name}: {why}; everything here is deactivated", name=self.name, why=why)
        self._household.incarnation_over(self, why)

    def _members(self, found: list[members.Master]) -> None:
        keys = {master.incarnation: master.crash_key for master in found if master.crash_key is not None}
        for watcher in (self._ring, self._listener):
            if isinstance(watcher, (RingWatch, FileWatchman)):
                watcher.watch(keys)

    def _peer_lost(self, incarnation: str) -> None:
        if self._ended:
            return

        async def free() -> None:
            # A frozen client inside a transaction is freed by nothing else than ending its sessions.
            await self.databases.work.single(members.terminate_sessions, f"locum:{incarnation}")

        def look(_: Any) -> None:
            self.activation.look(f"incarnation {incarnation} was lost")
            self.announcer.say({"masters", "schedulers"})

        self.membership.look()
        Deferred.fromCoroutine(free()).addErrback(
            lambda failure: self.log.warn("ending the lost one's sessions: {e}", e=failure.getErrorMessage())
        ).addBoth(look)

    def _blocked(self, tenure: Tenure, seconds: float) -> None:
        """In a thread: the reactor does not answer while this scheduler's code runs."""
        self.log.error("scheduler {name} has blocked its master for {s:.1f} s", name=tenure.name, s=seconds)
        database = self.databases.work.database
        times = 0
        try:
            times = database.write(orders.blocked, tenure.id, tenure.name, tenure.kind, self.id, seconds)
        finally:
            if not times:  # too late: others have taken over. Said again when this process is a member again
                accusation = Accusation(tenure.id, tenure.name, tenure.kind, seconds)
                self._surroundings.reactor.callFromThread(self._household.accused, accusation)
        if times > 1:
            database.single(wakeups.announce, ["schedulers"])

    def _look_at_schedules(self) -> None:
        for tenure in self.activation.tenures.values():
            if tenure.stored is not None:
                tenure.stored.look()

    async def _look_everywhere(self) -> None:
        self._deliveries.pump_all()  # one that lags may have failed to read; a clock that was set back may have held one up
        self._feeds.soon()
        self._messages.soon()
        self._orders.soon()
        self._household.woken({"tasks"})

    async def _read_orders(self) -> None:
        for order in await self.databases.work.single(orders.open_orders, self.id):
            if order.id in self._orders_done:
                continue
            self._orders_done.add(order.id)
            answer = await self._household.ordered(order)
            try:
                await self.databases.work.write(orders.answer_order, order.id, answer)
            except DatabaseError:
                self._orders_done.discard(order.id)
                raise

    async def _cut(self) -> None:
        self.databases.cut_overdue()

    # -- the end ----------------------------------------------------------------------------------------------------

    def abandon(self, why: str) -> Deferred[Any]:
        """It is over, by doubt or by decree: nothing more is written. Fires when all of it has stopped."""
        self._ended = True
        closed = self.activation.abandon(why)
        self._stop_parts()
        return closed.addBoth(lambda _: self._close())

    async def end(self, why: str) -> None:
        """A clean stop: hand over at once, and say goodbye."""
        work = self.databases.work
        try:
            await work.single(members.stopping, self.id)
        except DatabaseError as error:  # handing over may succeed all the same
            self.log.warn("the others could not be told of the stop: {error}", error=error)
        self._handed_over = bool(self.activation.tenures)
        try:
            await self.activation.give_up_all(why)
        except DatabaseError as error:
            self.log.warn("the schedulers could not be handed over: {error}", error=error)

    async def leave(self, why: str) -> None:
        """After ``end`` and after the last task: the row says stopped."""
        self._ended = True
        if self._handed_over:
            await pause(self._surroundings.reactor, OTHERS_FIRST_S)
        try:
            await self.membership.stop()
            # Before the lock that others watch is given up: they would take it for a crash.
            await self.databases.work.single(members.stopped, self.id, why)
        except DatabaseError as error:
            self.log.warn("leaving: {error}", error=error)
        self._stop_parts()
        await self.activation.abandon(why)
        self._close()

    def _stop_parts(self) -> None:
        self.membership.stop()
        self.tools.committer.stop()
        self.tools.alarms.stop()
        for loop in (self._fallback, self._feeds, self._messages, self._failed, self._orders, self._cutter):
            loop.stop()
        for thread in (self._listener, self._ring, self._block_watch):
            if thread is not None:
                thread.stop()

    def _close(self) -> None:
        for thread in (self._listener, self._ring, self._block_watch):
            if thread is not None:
                thread.join(1.0)
        self.databases.close()


def lease_times(config: MasterConfig) -> LeaseTimes:
    """The times that the configuration says."""
    c = config.cluster
    return LeaseTimes(c.lease, c.heartbeat, c.margin)


def _nothing(conn: Connection) -> None:
    """Only to have been connected."""


def pause(reactor: Any, seconds: float) -> Deferred[None]:
    """Fires after so many seconds."""
    waiting: Deferred[None] = Deferred()
    reactor.callLater(seconds, waiting.callback, None)
    return waiting


def _register(
    conn: Any, wanted: list[tuple[str, str, str]], builders: list[BuilderRow]
) -> tuple[dict[tuple[str, str], Registered], dict[str, int]]:
    return holding.register(conn, wanted), register_builders(conn, builders)


def _newest(conn: Any) -> tuple[int, int]:
    return changes.last_number(conn), buildsets.last_finished(conn)
