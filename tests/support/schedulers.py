"""One scheduler on the real tenure, committer and activation, over a real SQLite file, in a time that a test moves.

Threads are gone (what runs in one runs at once), the reactor is a ``Clock``, and the cluster's time is its seconds.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from locum.db import buildsets as finished_rows
from locum.db import changes, holding, members, orders, requested
from locum.db.builders import register_builders
from locum.db.database import Database, HostClocks
from locum.db.errors import DatabaseAway
from locum.db.urls import DatabaseUrl
from locum.master.activation import Activation, Standing, in_place
from locum.master.alarms import Alarms
from locum.master.changes import validated
from locum.master.clock import DatabaseClock
from locum.master.committer import Committer
from locum.master.feed import Feed
from locum.master.ids import IdBlock
from locum.master.reading import change_of, finished_of
from locum.master.surroundings import Pool, RemoteDatabase, Surroundings
from locum.master.tenure import Tenure
from locum.master.tools import Tools
from sqlalchemy import text
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock

PROCESS = members.Process("host", "machine", "boot", 1, 1)
DAY = 86_400
SOON_S = 0.02
"""Commits that follow one another pause for milliseconds: what comes within this time counts as at once."""


@dataclass(frozen=True, slots=True)
class Built:
    """A buildset as a test looks at it. ``at`` is seconds since the bench began, rounded; ``due`` an aware datetime."""

    id: int
    at: float
    due: datetime | None
    reason: str
    changes: list[int]
    stamps: list[dict[str, Any]]
    properties: dict[str, tuple[Any, str]]
    builders: list[str]
    priority: int


class Trusted:
    """A membership whose lease is good for ever, until a test says otherwise."""

    def __init__(self, incarnation: str) -> None:
        self.incarnation = incarnation
        self.over = False

    def good(self) -> bool:
        return not self.over


class RemoteUnderTest(RemoteDatabase):
    """Its threads do their work at once, and answer when the reactor comes round.

    ``trouble(what, function)`` is asked before anything goes to the database; it may raise.
    """

    def __init__(self, database: Database, surroundings: Surroundings) -> None:
        super().__init__(database, surroundings, self._in_thread_of_its_own)
        self._clock = surroundings.reactor
        self.trouble: Callable[[str, Any], None] = lambda what, function: None

    def _in_thread_of_its_own(self, method: Any, function: Any, *args: Any, **kw: Any) -> Deferred[Any]:
        def work() -> Any:
            self.trouble(method.__name__, function)
            return method(function, *args, **kw)

        answer: Deferred[Any] = Deferred()
        execute(work).addBoth(lambda result: self._clock.callLater(0, answer.callback, result))
        return answer


class Bench:
    """``make()`` gives the scheduler, named as it likes. ``start()`` puts it on its first master."""

    def __init__(
        self,
        path: Path,
        make: Callable[[], Any],
        *,
        at: str = "2026-01-05T00:00:00+00:00",
        builders: tuple[str, ...] = ("unit", "lint"),
        timezone: str = "UTC",
        turn_timeout_s: float = 60.0,
        url: str = "",
    ) -> None:
        self.make = make
        self.clock = Clock()
        self._began_us = round(datetime.fromisoformat(at).timestamp() * 1e6)
        self.clocks = HostClocks(self.now_us, lambda: 10**9 + round(self.clock.seconds() * 1e6))
        self.url = url or f"sqlite:///{path}"
        self.db = Database(
            DatabaseUrl.parse(self.url, path.parent), clocks=self.clocks, label="locum:bench", pool_size=3
        )
        pool = Pool(execute, lambda: None)
        self.surroundings = Surroundings(self.clock, self.clocks, execute, lambda name, size: pool)
        self.remote = RemoteUnderTest(self.db, self.surroundings)
        self.timezone = timezone
        self.turn_timeout_s = turn_timeout_s
        self.builder_ids = self.db.write(register_builders, [(b, None, "fail", "auto") for b in builders])
        self.made: list[Any] = []
        self._incarnations = itertools.count(1)
        self._activation: Activation | None = None
        self._tools: Tools | None = None
        self._membership: Trusted | None = None
        self._requests = itertools.count(1)

    # -- masters ----------------------------------------------------------------------------------------------------

    def start(self) -> Bench:
        """A master comes up and takes the scheduler, unless another holds it."""
        me = f"m{next(self._incarnations)}"
        new = members.NewMaster(me, me, ("schedulers",), "d", "1", PROCESS, 10**9)
        self.db.write(members.join, new)
        membership = self._membership = Trusted(me)
        clock = DatabaseClock(self.surroundings)
        boottime = self.clocks.boottime_us()
        clock.heard(self.now_us(), boottime, boottime)
        self._tools = self._new_tools(membership, clock)
        activation = self._activation = Activation(
            self.clock,
            self.remote,
            membership,  # type: ignore[arg-type]
            self._tools,
            on_freed=lambda: None,
            on_active=lambda tenure: None,
        )
        # Nothing else happens in this cluster, so nobody need look around: a day takes a moment.
        activation._loop.interval_s = activation._progress.interval_s = 30 * DAY
        standing = self._standing()
        self.db.write(holding.stand_by, me, [(standing.id, "d")])
        activation.standing = {standing.id: standing}
        newest = self.db.read(changes.last_number), self.db.read(finished_rows.last_finished)
        self._tools.changes.begin(newest[0])
        self._tools.finished.begin(newest[1])
        activation.start()
        self.settle()
        return self

    def _new_tools(self, membership: Trusted, clock: DatabaseClock) -> Tools:
        remote = self.remote
        return Tools(
            reactor=self.clock,
            remote=remote,
            clock=clock,
            alarms=Alarms(self.clock, clock),
            changes=Feed(remote, changes.after, change_of, self.pump),
            finished=Feed(remote, finished_rows.finished_after, finished_of, self.pump),
            buildset_ids=IdBlock(remote, "buildsets"),
            task_ids=IdBlock(remote, "tasks"),
            committer=Committer(self.clock, remote, membership.incarnation, membership.good, lambda topics: None),
            timezone=self.timezone,
            turn_timeout_s=self.turn_timeout_s,
            note_failure=lambda *failure: self.activation.note_failure(*failure),
            builders=self.builder_ids,
        )

    def _fresh(self) -> Any:
        self.made.append(self.make())
        return self.made[-1]

    def _standing(self) -> Standing:
        current, fresh = in_place(self._fresh)
        instance = current()
        key = ("scheduler", instance.name)
        row = self.db.write(holding.register, [(*key, type(instance).__name__)])[key]
        self.id = row.id
        return Standing(row.id, instance.name, "scheduler", "d", current, fresh)

    def die(self) -> None:
        """The master is killed: it writes nothing more, and is found to be lost."""
        assert self._tools is not None and self._membership is not None
        self._membership.over = True
        self._tools.committer.stop()
        self._tools.alarms.stop()
        self.activation.abandon("killed")
        self._activation = None
        self.sql("UPDATE masters SET state = 'lost' WHERE incarnation = :i", i=self._membership.incarnation)
        self.settle()

    def stop(self) -> None:
        """The master hands over cleanly and leaves."""
        done = Deferred.fromCoroutine(self.activation.give_up_all("it was stopped"))
        self.settle()
        assert done.called
        self.die()

    def fail_over(self) -> None:
        """Killed, and another takes over at once."""
        self.die()
        self.start()

    def reconfigure(self, make: Callable[[], Any]) -> None:
        """The same name, another configuration."""
        self.make = make
        standing = self._standing()
        done = Deferred.fromCoroutine(self.activation.reconfigured([], [self.id], {self.id: standing}))
        self.settle()
        assert done.called
        done.result  # noqa: B018

    def close(self) -> None:
        """No master is left, and the file is closed."""
        if self._activation is not None:
            self.die()
        self.db.close()

    # -- what happens -----------------------------------------------------------------------------------------------

    @property
    def activation(self) -> Activation:
        assert self._activation is not None, "no master is up"
        return self._activation

    @property
    def tenure(self) -> Tenure | None:
        return self.activation.tenures.get(self.id)

    @property
    def scheduler(self) -> Any:
        """The active instance."""
        tenure = self.tenure
        assert tenure is not None, f"{self.name} is not active"
        return tenure.scheduler

    @property
    def name(self) -> str:
        name: str = self.made[-1].name
        return name

    def now_us(self) -> int:
        return self._began_us + round(self.clock.seconds() * 1e6)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.now_us() / 1e6, UTC)

    def settle(self) -> None:
        """Let everything happen that happens at once."""
        while soon := [c for c in self.clock.getDelayedCalls() if c.getTime() <= self.clock.seconds() + SOON_S]:
            self.clock.advance(max(0.0, min(c.getTime() for c in soon) - self.clock.seconds()))

    def advance(self, seconds: float) -> None:
        """Time passes, from one event to the next."""
        self.to(self.clock.seconds() + seconds)

    def to(self, seconds: float) -> None:
        """Until so many seconds after the bench began."""
        while due := [c.getTime() for c in self.clock.getDelayedCalls() if c.getTime() <= seconds]:
            self.clock.advance(max(0.0, min(due) - self.clock.seconds()))
        self.clock.advance(max(0.0, seconds - self.clock.seconds()))
        self.settle()

    def to_time(self, moment: str) -> None:
        """Until a time of day, in ISO 8601 with an offset."""
        self.to(datetime.fromisoformat(moment).timestamp() - self._began_us / 1e6)

    def freeze(self, seconds: float) -> None:
        """Time passes, and nothing can happen until it is over."""
        self.clock.rightNow += seconds  # type: ignore[attr-defined]
        self.settle()

    def pump(self) -> None:
        if self._activation is not None and self.tenure is not None:
            self.tenure.pump()

    def change(self, number: int | None = None, **fields: Any) -> int:
        """A change is committed, and every reader hears of it; its number."""
        if number is not None:
            self.sql("UPDATE counters SET value = :n WHERE name = 'changes'", n=number - 1)
        request = f"r{next(self._requests)}"
        given = validated({"who": "ann", "request_id": request, **fields})
        found: int = self.db.write(changes.add, [given])[request]
        self.hear()
        return found

    def hear(self) -> None:
        """A wake-up: read what is new."""
        if self._activation is not None and self._tools is not None:
            for feed in (self._tools.changes, self._tools.finished):
                Deferred.fromCoroutine(feed.read())
        self.settle()

    def finish(self, buildset: int, result: str = "success") -> None:
        """A buildset is completed."""
        self.sql("UPDATE counters SET value = value + 1 WHERE name = 'finished'")
        self.sql(
            "UPDATE buildsets SET result = :r, completed_at = 1, finished_number ="
            " (SELECT value FROM counters WHERE name = 'finished') WHERE id = :id",
            r=result,
            id=buildset,
        )
        self.hear()

    def message(self, number: int, serve: Callable[[Any], Any]) -> None:
        """A message of that number has come."""
        tenure = self.tenure
        assert tenure is not None
        tenure.message(number, serve)
        self.settle()

    def disable(self, why: str = "noisy") -> None:
        """A person disables it; its master hears of it."""
        self.db.write(orders.disable, self.name, why, "ann@host")
        self.look()

    def enable(self) -> None:
        self.db.write(orders.enable, self.name, "ann@host")
        self.look()

    def look(self) -> None:
        """The master compares what it holds."""
        if self._activation is not None:
            self._activation.look()
        self.settle()

    def database_away(self, *, writes_only: bool = True) -> None:
        """From now on the database cannot be reached."""

        def trouble(what: str, function: Any) -> None:
            if what == "write" or not writes_only:
                raise DatabaseAway("gone for a while")

        self.remote.trouble = trouble

    def database_back(self) -> None:
        self.remote.trouble = lambda what, function: None
        self.look()

    def ask(self, call: Callable[[], Any]) -> Any:
        """What a Deferred gives that ``call`` makes, once everything at once has happened; what it raises is raised."""
        answer: list[Any] = []

        async def asked() -> Any:
            return await call()

        Deferred.fromCoroutine(asked()).addBoth(answer.append)
        self.settle()
        assert answer, "no answer yet"
        if hasattr(answer[0], "raiseException"):
            answer[0].raiseException()
        return answer[0]

    # -- what came of it --------------------------------------------------------------------------------------------

    def sql(self, statement: str, **values: Any) -> list[Any]:
        """The rows of one statement, committed."""

        def run(conn: Any) -> list[Any]:
            result = conn.execute(text(statement), values)
            return list(result) if result.returns_rows else []

        return self.db.write(run)

    def seconds(self, instant_us: int) -> float:
        return round((instant_us - self._began_us) / 1e6, 1)

    @property
    def built(self) -> list[Built]:
        """Every buildset, oldest first."""
        levels = dict(self.sql("SELECT buildset_id, max(priority) FROM tasks GROUP BY buildset_id"))
        sources = dict(self.sql("SELECT id, properties_json FROM buildsets"))
        return [self._built(line, levels, sources) for line in reversed(self.db.read(requested.newest, 10_000))]

    def _built(self, line: requested.BuildsetLine, levels: Mapping[int, int], sources: Mapping[int, str]) -> Built:
        stamps = [
            {name: getattr(s, name) for name in ("codebase", "repository", "branch", "revision", "project")}
            for s in line.sourcestamps
        ]
        return Built(
            id=line.id,
            at=self.seconds(line.submitted_at),
            due=None if line.due_at is None else datetime.fromtimestamp(line.due_at / 1e6, UTC),
            reason=line.reason,
            changes=line.changes,
            stamps=stamps,
            properties={name: (value, source) for name, (value, source) in json.loads(sources[line.id]).items()},
            builders=[task.builder for task in line.tasks],
            priority=levels.get(line.id, 0),
        )

    @property
    def fired(self) -> list[float]:
        """Due times of all buildsets, in seconds since the bench began."""
        return [round(b.due.timestamp() - self._began_us / 1e6, 6) for b in self.built if b.due is not None]

    @property
    def skips(self) -> list[tuple[float, float, int, str]]:
        """(first, last, count, reason) of skipped ticks, in seconds."""
        rows = self.sql("SELECT first, last, count, reason FROM skips WHERE what = 'ticks' ORDER BY id")
        return [(self.seconds(r.first), self.seconds(r.last), r.count, r.reason) for r in rows]

    @property
    def failures(self) -> dict[str, tuple[int, float | None, str]]:
        """{cause: (attempts, when it is tried again, error)}."""
        rows = self.sql("SELECT cause, attempts, retry_at, error FROM failures")
        return {r.cause: (r.attempts, None if r.retry_at is None else self.seconds(r.retry_at), r.error) for r in rows}

    @property
    def timers(self) -> dict[str, float]:
        rows = self.sql("SELECT key, due FROM timers WHERE scheduler_id = :i", i=self.id)
        return {r.key: self.seconds(r.due) for r in rows}

    @property
    def state(self) -> dict[str, Any]:
        rows = self.sql("SELECT key, value_json FROM scheduler_state WHERE scheduler_id = :i", i=self.id)
        return {r.key: json.loads(r.value_json) for r in rows}

    @property
    def classified(self) -> dict[int, bool]:
        rows = self.sql("SELECT change_number, important FROM classifications WHERE scheduler_id = :i", i=self.id)
        return {r.change_number: bool(r.important) for r in rows}

    @property
    def row(self) -> Any:
        return self.sql("SELECT * FROM schedulers WHERE id = :i", i=self.id)[0]
