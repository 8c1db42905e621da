"""The scheduling side of a cluster in one process, on a database in memory and in a time that only its owner moves.

All that decides is the real code: activation, tenures, turns, the committer, the feeds, every statement. What surrounds it
is replaced: no network, no file, no thread, no heartbeat, and a lease that is good until it is taken away. The harness for
authors of schedulers (``locum.schedulers.testing``) and ``locum simulate`` are made of this.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from operator import methodcaller
from typing import Any
from weakref import WeakSet

from sqlalchemy.engine import Connection
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock

from ..db import buildsets, changes, holding, members, messages, orders, tasks, turns
from ..db.builders import BuilderRow, register_builders
from ..db.crash_hint import LET_GO
from ..db.database import HostClocks
from ..db.effects import NewChange, NewFailure
from ..db.errors import BadData
from ..db.in_memory import open_in_memory
from ..db.task_states import Result, State
from ..schedulers.base import Clustered
from .activation import Activation, Standing, in_place
from .alarms import Alarms
from .clock import DatabaseClock
from .committer import Committer
from .deliveries import Deliveries
from .feed import Feed
from .ids import IdBlock
from .loop import Loop
from .reading import change_of, finished_of
from .surroundings import Pool, RemoteDatabase, Surroundings
from .tenure import Tenure
from .tools import Tools

NEVER_S = math.inf
"""how often a rehearsed master looks around by itself: nothing happens behind its back"""
MOST_AT_ONE_MOMENT = 20_000
_PROCESS = members.Process("rehearsal", "rehearsal", "rehearsal", 1, 1)
_LEASE_US = 10**15
_time_of: Callable[[Any], float] = methodcaller("getTime")
_STATES = {
    Result.SUCCESS: State.EXECUTED,
    Result.WARNINGS: State.EXECUTED,
    Result.SKIPPED: State.EXECUTED,
    Result.FAILURE: State.FAILED,
    Result.EXCEPTION: State.FAILED,
    Result.CANCELLED: State.CANCELLED,
}


class TimeStandsStill(Exception):
    """More happens at one moment than can come to an end: something asks to be called again at once, for ever."""


class CannotStart(Exception):
    """A scheduler's ``startService`` raised."""


class Time:
    """A ``Clock``, and the wall time in whole microseconds that goes with it."""

    def __init__(self, start_us: int) -> None:
        self.clock = Clock()
        self._start_us = start_us
        self.before_moving: Callable[[], bool] = lambda: False
        """asked when nothing is left to happen at a moment; True: now there is"""

    def now_us(self) -> int:
        """Microseconds since the epoch."""
        return self._start_us + round(self.clock.seconds() * 1e6)

    def run_until(self, until_us: int, enough: Callable[[], bool] = lambda: False) -> None:
        """All that is to happen until then, each thing at its time; or until it is ``enough()``."""
        until_s = (until_us - self._start_us) / 1e6
        while not enough():
            next_s = min(map(_time_of, self.clock.getDelayedCalls()), default=math.inf)
            if next_s > self.clock.seconds() and self.before_moving():
                continue
            self._set(min(next_s, until_s))
            if next_s > until_s:
                return
            self.clock.advance(0)

    def _set(self, seconds: float) -> None:
        # Set, not added to: sums of a million small steps drift away from whole microseconds.
        self.clock.rightNow = max(self.clock.rightNow, seconds)


class Reactor:
    """What one master has of the clock. Once it is dead, nothing that it planned happens."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._planned: WeakSet[Any] = WeakSet()
        self._moment, self._count = 0.0, 0
        self.dead = False

    def seconds(self) -> float:
        """The clock's."""
        return self._clock.seconds()

    def callLater(self, seconds: float, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The clock's."""
        if self._moment != self._clock.seconds():
            self._moment, self._count = self._clock.seconds(), 0
        self._count += 1
        if self._count > MOST_AT_ONE_MOMENT:
            raise TimeStandsStill(f"{function!r} and others ask again and again to be called at this very moment")
        call: Any = self._clock.callLater(seconds, function, *args, **kwargs)
        if self.dead:
            call.cancel()
        else:
            self._planned.add(call)
        return call

    def die(self) -> None:
        """At once, and for good."""
        self.dead = True
        for call in list(self._planned):
            if call.active():
                call.cancel()


class Lease:
    """Stands in for ``Membership``: good until it is over."""

    def __init__(self, incarnation: str) -> None:
        self.incarnation = incarnation
        self.over = False

    def good(self) -> bool:
        """Whether its master may act."""
        return not self.over


class RehearsedMaster:
    """One master's scheduling side, wired as ``Incarnation`` wires it."""

    def __init__(self, rehearsal: Rehearsal, name: str) -> None:
        self._rehearsal = rehearsal
        self.name = name
        self.lease = Lease(name)
        self.reactor = Reactor(rehearsal.time.clock)
        surroundings = Surroundings(
            self.reactor, rehearsal.clocks, self._in_thread, lambda _, __: Pool(self._in_thread, lambda: None)
        )
        self.remote = remote = RemoteDatabase(rehearsal.database, surroundings)
        clock = DatabaseClock(surroundings)
        boottime_us = rehearsal.clocks.boottime_us()
        clock.heard(rehearsal.time.now_us(), boottime_us, boottime_us)
        self.committer = rehearsal.make_committer(self)

        def more() -> None:
            self._deliveries.pump_all()

        self.tools = Tools(
            reactor=self.reactor,
            remote=remote,
            clock=clock,
            alarms=Alarms(self.reactor, clock, NEVER_S),
            changes=Feed(remote, changes.after, change_of, more),
            finished=Feed(remote, buildsets.finished_after, finished_of, more),
            buildset_ids=IdBlock(remote, "buildsets"),
            task_ids=IdBlock(remote, "tasks"),
            committer=self.committer,
            timezone=rehearsal.timezone,
            turn_timeout_s=rehearsal.turn_timeout_s,
            note_failure=self._refused,
            builders=rehearsal.builders,
        )
        membership: Any = self.lease
        self.activation = Activation(
            self.reactor,
            remote,
            membership,
            self.tools,
            on_freed=lambda: None,
            on_active=lambda tenure: self._messages.soon(),
            look_every_s=NEVER_S,
            save_every_s=NEVER_S,
        )
        self._deliveries = Deliveries(self.activation, remote, name)
        self._feeds = Loop(self.reactor, self._deliveries.feeds, NEVER_S, "reading what is new")
        self._messages = Loop(self.reactor, self._deliveries.messages, NEVER_S, "messages")
        self._failed = Loop(self.reactor, self._deliveries.failed, NEVER_S, "failed tasks")
        self.tools.changes.ask = self.tools.finished.ask = self._feeds.soon
        self.tools.look_for_failed = self._failed.soon

    def begin(self, standing: Mapping[int, Standing]) -> None:
        """Join, and take what is to be had."""
        database = self._rehearsal.database
        new = members.NewMaster(
            self.name, self.name, ("schedulers", "tasks"), "rehearsed", "rehearsed", _PROCESS, _LEASE_US
        )
        database.write(members.join, new)
        database.write(holding.stand_by, self.name, [(s.id, s.digest) for s in standing.values()])
        self.activation.standing = dict(standing)
        self.tools.changes.begin(database.single(changes.last_number))
        self.tools.finished.begin(database.single(buildsets.last_finished))
        for loop in (self._feeds, self._messages, self._failed):
            loop.start()
        self.activation.start()

    def hear(self, topics: Iterable[str] = ()) -> None:
        """A wake-up: something is new, of whatever kind."""
        for loop in (self._feeds, self._messages, self._failed):
            loop.soon()
        if "schedulers" in topics:
            self.activation.look()

    def written(self, topics: set[str]) -> None:
        """Something is new; topics as everywhere."""
        if topics & {"changes", "finished", "cancelled"} or self.tools.news.wanted:
            self._feeds.soon()
        if "failed" in topics:
            self._failed.soon()

    def kill(self) -> None:
        """Its process is gone: nothing of it is called any more, and nothing more of it is committed."""
        self.lease.over = True
        self.reactor.die()
        for tenure in self.activation.tenures.values():
            tenure.seat.close()

    def leave(self, why: str) -> Deferred[Any]:
        """A clean stop: open turns may commit, then all is released. Fires when everything is deactivated."""
        return Deferred.fromCoroutine(self.activation.give_up_all(why)).addBoth(lambda _: self.lapse(why))

    def lapse(self, why: str) -> Deferred[Any]:
        """Its lease is over: all is deactivated, nothing more is committed. Fires when that is done."""
        self.lease.over = True
        closed = self.activation.abandon(why)
        self.committer.stop()
        self.tools.alarms.stop()
        for loop in (self._feeds, self._messages, self._failed):
            loop.stop()
        return closed

    def _refused(self, tenure: Tenure, cause: str, failure: NewFailure) -> None:
        self.activation.note_failure(tenure, cause, failure)
        self._rehearsal.refused(tenure.name, cause, BadData(failure.error))

    # -- threads ----------------------------------------------------------------------------------------------------

    def _in_thread(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
        """At once, answered when the reactor comes round; a dead master never hears of it."""
        work = partial(function, *args, **kwargs)
        if args and args[0] is turns.commit:
            work = partial(self._rehearsal.commit, work)
        answer: Deferred[Any] = Deferred()

        def begin() -> None:
            if args and self._rehearsal.must_wait(function.__name__, args[0]):
                self.reactor.callLater(0, begin)
            elif not self.reactor.dead:
                execute(work).addBoth(lambda result: self.reactor.callLater(0, answer.callback, result))

        begin()
        return answer


class Rehearsal:
    """A database, a time, and one master after another on them.

    Set ``commit`` to say what becomes of the next commits of turns: it is given the commit, and may carry it out, refuse
    it (raise DatabaseAway) or lose its answer (carry it out, then raise OutcomeUnknown). ``around()`` is entered whenever
    schedulers' code may run. Nothing happens but in ``settle`` and ``run_until``.
    """

    def __init__(
        self,
        start_us: int,
        builders: Iterable[BuilderRow],
        *,
        timezone: str = "UTC",
        turn_timeout_s: float = 60.0,
        around: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.time = Time(start_us)
        self.clocks = HostClocks(self.time.now_us, lambda: 10**9 + round(self.time.clock.seconds() * 1e6))
        self.database = open_in_memory(self.clocks, "locum:rehearsal")
        self.timezone = timezone
        self.turn_timeout_s = turn_timeout_s
        self.builders = self.database.write(register_builders, builders)
        self.master: RehearsedMaster | None = None
        self.commit: Callable[[Callable[[], Any]], Any] = lambda work: work()
        self.refused: Callable[[str, str, Exception], None] = lambda name, cause, error: None
        """told of a turn that the database refused for its data"""
        self._around = around
        self._makers: dict[int, tuple[str, Callable[[], Clustered]]] = {}
        self._names = itertools.count(1)
        self._requests = itertools.count(1)
        self._gone: list[RehearsedMaster] = []
        """Kept: were they collected, ``finally`` blocks of what they left half done would run."""

    def make_committer(self, master: RehearsedMaster) -> Committer:
        """One that waits for nothing between groups."""
        return Committer(master.reactor, master.remote, master.name, master.lease.good, master.written, pause_s=0.0)

    def must_wait(self, how: str, what: Callable[..., Any]) -> bool:
        """Whether the database may not be asked ``what`` (by ``write``, ``read`` or ``single``) yet."""
        return False

    # -- schedulers and masters -------------------------------------------------------------------------------------

    def add(self, name: str, type_name: str, make: Callable[[], Clustered]) -> int:
        """A scheduler that the next master has configured; ``make()`` gives a new instance. Its row's id."""
        row = self.database.write(holding.register, [("scheduler", name, type_name)])["scheduler", name]
        self._makers[row.id] = (name, make)
        return row.id

    def boot(self) -> RehearsedMaster:
        """A master comes up and takes all schedulers, if no other is up. CannotStart; whatever a constructor raises."""
        master = self.master = RehearsedMaster(self, f"m{next(self._names)}")
        try:
            with self._around():
                standing = {
                    i: Standing(i, name, "scheduler", "rehearsed", *in_place(partial(self._new, name, make)))
                    for i, (name, make) in self._makers.items()
                }
                master.begin(standing)
        except BaseException:
            self.master = None
            raise
        return master

    def _new(self, name: str, make: Callable[[], Clustered]) -> Clustered:
        instance = make()
        try:
            instance.startService()  # type: ignore[no-untyped-call]
        except Exception as error:
            raise CannotStart(f"startService of {name!r} failed: {type(error).__name__}: {error}") from error
        return instance

    def kill(self) -> None:
        """As SIGKILL does; the others notice at once."""
        if self.master is not None:
            self.master.kill()
            self._lost(LET_GO)

    def lapse(self, why: str) -> None:
        """The master's lease ends: it deactivates all it has. The others notice."""
        if self.master is not None:
            with self._around():
                self.master.lapse(why)
            self.settle()
            self._lost("its lease ended")

    def stop(self, why: str) -> None:
        """The master hands over and leaves."""
        if self.master is not None:
            with self._around():
                done = self.master.leave(why)
            self.run_until(self.time.now_us() + 10_000_000, lambda: done.called)
            self._lost("it was stopped")

    def _lost(self, why: str) -> None:
        assert self.master is not None
        self.database.single(members.declare_lost, self.master.name, 0, why, lease_ended=False)
        self._gone.append(self.master)
        self.master = None

    def close(self) -> None:
        """Nobody is active any more, and the database is gone. Legal twice."""
        self.lapse("the rehearsal is over")
        self.database.close()

    # -- time -------------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """All that happens at once."""
        self.run_until(self.time.now_us())

    def run_until(self, until_us: int, enough: Callable[[], bool] = lambda: False) -> None:
        """All that happens until then, or until it is ``enough()``."""
        with self._around():
            self.time.run_until(until_us, enough)

    # -- what happens -----------------------------------------------------------------------------------------------

    def add_changes(self, new: Sequence[NewChange]) -> list[int]:
        """They are committed now; their numbers."""
        found = self.database.write(changes.add, new)
        if self.master is not None:
            self.master.written({"changes"})
        return [found[change.request_id] for change in new]

    def send(self, scheduler: str, kind: str, body: Mapping[str, Any]) -> int:
        """A message to a scheduler is kept; its id. NotFound; Disabled."""
        key = f"rehearsed-{next(self._requests)}"
        sent = self.database.write(messages.send, scheduler, key, kind, body, "rehearsal")
        self.hear()
        return sent.id

    def finish(self, results: Mapping[int, Result]) -> None:
        """These tasks, as far as they are queued, are run, and end so."""
        master = self.master.name if self.master is not None else self._runner()
        self.database.write(_finish, master, results)
        if self.master is not None:
            self.master.written({"finished", "failed"})

    def _runner(self) -> str:
        """While no master is up, one that only runs tasks."""
        name = f"runner{next(self._names)}"
        self.database.write(
            members.join, members.NewMaster(name, name, ("tasks",), "", "rehearsed", _PROCESS, _LEASE_US)
        )
        return name

    def disable(self, scheduler: str, why: str) -> None:
        """A person disables it; its master hears of it."""
        self.database.write(orders.disable, scheduler, why, "rehearsal")
        self.hear("schedulers")

    def enable(self, scheduler: str) -> None:
        """A person enables it again."""
        self.database.write(orders.enable, scheduler, "rehearsal")
        self.hear("schedulers")

    def hear(self, *topics: str) -> None:
        """Whoever is up is told that something is new."""
        if self.master is not None:
            self.master.hear(topics)

    def tenure(self, scheduler_id: int) -> Tenure | None:
        """Of a scheduler that is active now."""
        return None if self.master is None else self.master.activation.tenures.get(scheduler_id)


def _finish(conn: Connection, incarnation: str, results: Mapping[int, Result]) -> None:
    claimed = tasks.claim_these(conn, incarnation, results)
    ended = [tasks.TaskEnded(task, attempt, _STATES[results[task]], results[task]) for task, attempt in claimed]
    tasks.record(conn, incarnation, ended)
