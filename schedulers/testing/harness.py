"""``SchedulerHarness``: schedulers on the real turns, commits and takeovers, in a time that a test moves."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from ...config import parse_duration
from ...db import buildsets as buildset_rows
from ...db import changes as change_rows
from ...db import messages, orders, requested
from ...db.errors import DatabaseAway, OutcomeUnknown
from ...db.task_states import Result
from ...master.changes import validated
from ...master.reading import change_of
from ...master.rehearsal import CannotStart, Reactor, Rehearsal
from ..base import to_datetime, to_instant
from ..changes import Change
from ..interface import StampFields
from .errors import CannotBeMade, HarnessError, HookFailed, HookUnfinished
from .factories import Factory, Maker, check_together, made_by
from .looks import Buildset, Failed, Request, Skipped, buildset_of
from .threads import ReactorUnderTest
from .view import SchedulerView
from .watching import Watch

ALL = 2**31 - 1


class SchedulerHarness:
    """Schedulers under test, active on a master that exists only in this process, with a database in memory.

    Each of ``factories`` is called without arguments and makes a scheduler; a takeover, and any failure, makes a fresh one.
    The first is the one that ``scheduler``, ``state``, ``timers`` and so on are about; ``harness["name"]`` has the same of
    any. ``builders`` are the names that may be built; None: those that the schedulers name. The time is ``start`` (ISO 8601,
    or an aware datetime) until ``advance``. Every call returns when all that happens at once has happened, commits included.

    A scheduler's code that raises makes the call raise HookFailed, unless it stands in ``with harness.expect_failure():``.
    Use it as a context manager, or call ``close()``.
    """

    def __init__(
        self,
        *factories: Factory,
        builders: list[str] | tuple[str, ...] | None = None,
        start: str | datetime = "2026-01-01T00:00:00+00:00",
        timezone: str = "UTC",
        turn_timeout_s: float = 60.0,
        thread_timeout_s: float = 10.0,
    ) -> None:
        self._may_hang = False
        self._closed = False
        self._reactor = ReactorUnderTest(self._planning, thread_timeout_s)
        self._watch = Watch(self._reactor)
        self.log = self._watch.log
        """what was logged meanwhile, ``level: text``"""
        made = [made_by(factory) for factory in factories]
        if not made:
            raise CannotBeMade(
                "give SchedulerHarness at least one factory, such as lambda: MyScheduler('name', ['unit'])"
            )
        names = list(builders) if builders is not None else [n for one in made for n in one.listBuilderNames()]
        check_together(made, set(names))
        self.rehearsal = Rehearsal(
            to_instant(_moment(start)),
            [(name, None, "fail", "auto") for name in dict.fromkeys(names)],
            timezone=timezone,
            turn_timeout_s=turn_timeout_s,
            around=self._watch.around,
        )
        self.rehearsal.time.before_moving = self._reactor.collect
        self.rehearsal.refused = lambda name, cause, error: self._watch.raised(f"{cause} of {name!r}", error)
        self._idle = Reactor(self.clock)
        self._views: dict[str, SchedulerView] = {}
        self._makers: dict[str, Maker] = {}
        for factory, one in zip(factories, made, strict=True):
            maker = self._makers[one.name] = Maker(factory, one)
            number = self.rehearsal.add(one.name, type(one).__name__, maker)
            self._views[one.name] = SchedulerView(self, number, one.name)
        self.name = made[0].name
        try:
            self.take_over()
        except BaseException as error:
            self.__exit__(type(error))
            raise

    def __enter__(self) -> SchedulerHarness:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            with contextlib.suppress(HarnessError):  # the test has failed already, and what it failed at comes first
                self.close()

    def close(self) -> None:
        """Deactivate all schedulers and let go of everything. Legal twice. HookFailed: ``deactivate`` raised."""
        if not self._closed:
            self._closed = True
            try:
                self.rehearsal.close()
            finally:
                self._watch.tell()

    # -- what happens outside ---------------------------------------------------------------------------------------

    def change(self, who: str = "somebody", **fields: Any) -> Change:
        """A change is committed. ``fields`` as for ``locum change add``: branch, revision, files, comments, repository,
        codebase, project, category, properties, when, revlink, committer."""
        with self._step():
            (number,) = self.rehearsal.add_changes([validated({"who": who, **fields})])
        return change_of(self.rehearsal.database.read(change_rows.these, [number])[0])

    def advance(self, span: float | str | timedelta) -> None:
        """Time passes (seconds, text such as '5m' or '2h', or a timedelta), and everything happens at its time."""
        self._advance_to(self.rehearsal.time.now_us() + round(_seconds(span) * 1e6))

    def advance_to(self, moment: str | datetime) -> None:
        """The same until a time: ISO 8601 with an offset, or an aware datetime. ValueError: that is over."""
        until = to_instant(_moment(moment))
        if until < self.rehearsal.time.now_us():
            raise ValueError(f"{moment} is over: it is {self.now.isoformat()} already")
        self._advance_to(until)

    def finish(self, buildset: Buildset | int, result: str = "success", builder: str | None = None) -> None:
        """All tasks of a buildset that have not ended, or only that of ``builder``, end with ``result``: success, warnings,
        skipped, failure, exception or cancelled."""
        number = buildset if isinstance(buildset, int) else buildset.id
        tasks = self.buildset(number).tasks
        wanted = [task.id for task in tasks if task.result is None and builder in (None, task.builder)]
        if not wanted:
            what = f"no task for {builder!r}" if builder is not None else "no task"
            raise HarnessError(f"buildset {number} has {what} that has not ended; it has {tasks}")
        with self._step():
            self.rehearsal.finish({task: Result(result) for task in wanted})

    def force(self, scheduler: str | None = None, **body: Any) -> Request:
        """As ``locum force`` does: branch, revision, properties, reason, builderNames, priority; ``form`` for a ForceScheduler."""
        return self.send("force", scheduler, **body)

    def trigger(self, scheduler: str | None = None, waited_for: bool = False, **body: Any) -> Request:
        """As a ``trigger`` step does: sourcestamps, set_props, parent_buildid, parent_relationship, priority."""
        return self.send("trigger", scheduler, waited_for=waited_for, **body)

    def run_now(self, scheduler: str | None = None) -> Request:
        """As ``locum scheduler run-now`` does."""
        return self.send("run_now", scheduler)

    def send(self, kind: str, scheduler: str | None = None, **body: Any) -> Request:
        """Any message. It is kept until a turn of the scheduler has answered it, also while nobody is active."""
        name = scheduler or self.name
        with self._step():
            number = self.rehearsal.send(name, kind, body)
        return self._request(number, name)

    def disable(self, scheduler: str | None = None, why: str = "disabled by the test") -> None:
        """As ``locum scheduler disable`` does."""
        with self._step():
            self.rehearsal.disable(scheduler or self.name, why)

    def enable(self, scheduler: str | None = None) -> None:
        """As ``locum scheduler enable`` does."""
        with self._step():
            self.rehearsal.enable(scheduler or self.name)

    def retry(self, cause: str | None = None, scheduler: str | None = None) -> None:
        """As ``locum scheduler failures --retry`` does: a failed cause (None: all) is tried again now."""
        with self._step():
            self.rehearsal.database.write(orders.retry_failure, scheduler or self.name, cause, "test")
            self.rehearsal.hear("schedulers")

    # -- masters come and go ----------------------------------------------------------------------------------------

    def take_over(self) -> None:
        """Another master, with fresh instances, takes all schedulers. Only when no other is up: kill() or stop() that first."""
        if self.rehearsal.master is not None:
            raise HarnessError(
                "a master is up and holds the schedulers; kill(), stop() or lapse() it first, or hand_over()"
            )
        with self._step():
            try:
                self.rehearsal.boot()
            except CannotStart as error:
                raise HookFailed(str(error)) from error.__cause__

    def kill(self) -> None:
        """The master is killed: no ``deactivate``, and what was not committed is lost. Nobody is active until ``take_over()``."""
        self.rehearsal.kill()

    def stop(self) -> None:
        """The master stops cleanly: open turns commit, everything is deactivated."""
        with self._step():
            self.rehearsal.stop("it was stopped")

    def lapse(self) -> None:
        """The master's lease ends, as when the database is away for long: everything is deactivated, and what was not
        committed is lost."""
        with self._step():
            self.rehearsal.lapse("its lease ended")

    def fail_over(self) -> None:
        """``kill()``, then ``take_over()``."""
        self.kill()
        self.take_over()

    def hand_over(self) -> None:
        """``stop()``, then ``take_over()``."""
        self.stop()
        self.take_over()

    def reconfigure(self, *factories: Factory) -> None:
        """The schedulers that these make, by their names, are configured otherwise from now on; handed over cleanly."""
        for factory in factories:
            one = made_by(factory)
            if one.name not in self._makers:
                raise HarnessError(f"there is no scheduler {one.name!r}; there are {', '.join(self._makers)}")
            self._makers[one.name].change(factory, one)
        self.hand_over()

    # -- commits that go wrong --------------------------------------------------------------------------------------

    def fail_next_commit(self) -> None:
        """The database will not take the next turn: nothing of it is kept, and its cause comes again to a fresh instance."""
        self._next_commit(_refuse)

    def lose_next_answer(self) -> None:
        """The next turn will be committed, but its master never hears of it: it has to look what is in the database."""
        self._next_commit(_lose)

    def kill_at_next_commit(self, *, committed: bool = False) -> None:
        """The master will be killed when the next turn is to be committed: just before that, or just after it."""

        def die(work: Callable[[], Any]) -> Any:
            if committed:
                work()
            self.rehearsal.kill()

        self._next_commit(die)

    def _next_commit(self, fate: Callable[[Callable[[], Any]], Any]) -> None:
        def once(work: Callable[[], Any]) -> Any:
            self.rehearsal.commit = _carried_out
            return fate(work)

        self.rehearsal.commit = once

    # -- what is expected -------------------------------------------------------------------------------------------

    def expect_failure(self, kind: type[BaseException] = Exception) -> AbstractContextManager[list[BaseException]]:
        """Inside, schedulers' code may raise ``kind``, and must: the list has what it raised. Anything else is HookFailed."""
        return self._watch.expecting(kind)

    @contextlib.contextmanager
    def expect_unfinished(self) -> Iterator[None]:
        """Inside, a hook may wait for what the test itself brings."""
        before, self._may_hang = self._may_hang, True
        try:
            yield
        finally:
            self._may_hang = before

    # -- looks ------------------------------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> SchedulerView:
        try:
            return self._views[name]
        except KeyError:
            raise KeyError(f"no scheduler {name!r}; there are {', '.join(self._views)}") from None

    @property
    def clock(self) -> Clock:
        """The clock of everything here. Move it by ``advance``, which also lets threads and commits keep up."""
        return self.rehearsal.time.clock

    @property
    def now(self) -> datetime:
        """The cluster's time, in UTC."""
        return to_datetime(self.rehearsal.time.now_us())

    @property
    def scheduler(self) -> Any:
        """The active instance of the first scheduler. NobodyActive."""
        return self[self.name].instance

    @property
    def active(self) -> bool:
        """Whether the first scheduler is active."""
        return self[self.name].active

    @property
    def buildsets(self) -> list[Buildset]:
        """Those of the first scheduler, oldest first; ``all_buildsets`` has everybody's."""
        return self[self.name].buildsets

    @property
    def all_buildsets(self) -> list[Buildset]:
        """Everybody's, oldest first."""
        lines = self.rehearsal.database.read(requested.newest, ALL)
        stamps = self.rehearsal.database.read(buildset_rows.stamps_of, [line.id for line in lines])
        return [
            buildset_of(
                line,
                tuple(
                    StampFields(s.codebase, s.repository, s.branch, s.revision, s.project, s.patch_json)
                    for s in stamps[line.id]
                ),
            )
            for line in reversed(lines)
        ]

    def buildset(self, number: int) -> Buildset:
        """The buildset of that id, as it is now."""
        for one in self.all_buildsets:
            if one.id == number:
                return one
        raise HarnessError(f"there is no buildset {number}")

    def request(self, before: Request) -> Request:
        """A request as it is now: answered, perhaps."""
        return self._request(before.id, before.scheduler)

    def _request(self, number: int, scheduler: str) -> Request:
        answer = self.rehearsal.database.read(messages.answer_of, number)
        made = answer.get("buildset") if answer else None
        return Request(number, scheduler, answer, None if made is None else self.buildset(made))

    @property
    def state(self) -> dict[str, Any]:
        """What the first scheduler's ``setState`` has kept."""
        return self[self.name].state

    @property
    def timers(self) -> dict[str, datetime]:
        """The first scheduler's timers."""
        return self[self.name].timers

    @property
    def pending(self) -> Mapping[int, bool]:
        """The first scheduler's classified changes: number -> important."""
        return self[self.name].pending

    @property
    def failures(self) -> list[Failed]:
        """What the first scheduler's code failed at, as ``locum scheduler failures`` lists it."""
        return self[self.name].failures

    @property
    def skips(self) -> list[Skipped]:
        """What the first scheduler passed over."""
        return self[self.name].skips

    def result_of(self, call: Callable[[], Any]) -> Any:
        """What ``call()`` gives, once everything at once has happened: ``harness.result_of(lambda: harness.scheduler.ask())``.

        A Deferred or coroutine is waited for; what it raises is raised here. HookUnfinished: it waits for something else.
        """
        answers: list[Any] = []

        async def asked() -> Any:
            found = call()
            return await found if isinstance(found, Awaitable) else found

        with self._step():
            Deferred.fromCoroutine(asked()).addBoth(answers.append)
        if not answers:
            raise HookUnfinished(
                "there is no answer yet: it waits for what only the test can bring, or for time to pass"
            )
        if isinstance(answers[0], Failure):
            answers[0].raiseException()
        return answers[0]

    # -- how --------------------------------------------------------------------------------------------------------

    def _advance_to(self, until_us: int) -> None:
        with self._step():
            self.rehearsal.run_until(until_us)

    def _planning(self) -> Reactor:
        master = self.rehearsal.master
        return self._idle if master is None else master.reactor

    @contextlib.contextmanager
    def _step(self) -> Iterator[None]:
        """One thing happens, and all that follows from it at once; then the test hears of what went wrong."""
        if self._closed:
            raise HarnessError("this harness is closed")
        with self._watch.around():
            yield
        self.rehearsal.settle()
        self._watch.tell()
        self._complain_of_hanging()

    def _complain_of_hanging(self) -> None:
        for maker in self._views.values():
            tenure = self.rehearsal.tenure(maker.number)
            turn = None if tenure is None else tenure.open
            if turn is None or self._may_hang or self._reactor.planned:
                continue
            what = "background code's turn" if turn.cause is None else f"its hook for {turn.cause.id}"
            raise HookUnfinished(
                f"scheduler {maker.name!r}: {what} has not come to its end, and nothing is under way here that could bring"
                " what it waits for (a delayed call, a thread, the database). If the test brings it, call this inside"
                " 'with harness.expect_unfinished():'. On a master, the turn would fail after turn_timeout"
                f" ({self.rehearsal.turn_timeout_s:g} s)"
            )


def _moment(given: str | datetime) -> datetime:
    moment = datetime.fromisoformat(given) if isinstance(given, str) else given
    if moment.tzinfo is None:
        raise ValueError(f"{given!r}: say in which zone that is, such as 2026-03-01T03:00:00+01:00")
    return moment


def _seconds(span: float | str | timedelta) -> float:
    if isinstance(span, timedelta):
        return span.total_seconds()
    seconds = parse_duration(span) if isinstance(span, str) else span
    if seconds < 0:
        raise ValueError(f"time does not go back: {span!r}")
    return seconds


def _carried_out(work: Callable[[], Any]) -> Any:
    return work()


def _refuse(work: Callable[[], Any]) -> Any:
    raise DatabaseAway("the test refuses this commit")


def _lose(work: Callable[[], Any]) -> Any:
    work()
    raise OutcomeUnknown("the test has lost the answer to this commit")
