"""What the schedulers of a configuration would request in some stretch of time, for some changes: without touching anything.

The real schedulers run in a rehearsal whose clock jumps from one event to the next. Tasks are not run: each ends at once,
as it is assumed to. What nobody waits for is committed late, many turns together, or a year would take ten minutes.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any

from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from ..config import ConfigError, MasterConfig
from ..db import buildsets, changes, holding, messages, turns
from ..db.builders import BuilderRow
from ..db.effects import Effects, NewBuildset, NewChange, Stamp
from ..db.task_states import Result, worst
from ..schedulers.base import Clustered
from ..schedulers.describing import reaction_of, stable_timer
from ..schedulers.interface import FinishedBuildset
from .borrowed_reactor import borrowed_reactor
from .causes import Activation, BuildsetFinished, Cause, ChangeCame, TimerFired
from .committer import Committer
from .configuring import Catalogue, check, wanted
from .rehearsal import Rehearsal, RehearsedMaster
from .simulation_parts import in_processes, parts_of, separable
from .tenure import Tenure
from .try_jobdir import Try_Jobdir
from .try_userpass import Try_Userpass

GATHERED = 400
"""turns that wait for their commit at most"""
_NEED_NOT_WAIT = frozenset(
    {
        *(changes.after, changes.these, changes.last_number, buildsets.finished_after, buildsets.stamp, turns.reserve),
        *(holding.takeable, holding.holds, messages.waiting_for),
    }
)
"""what is answered rightly although turns wait for their commit, and tasks for their end"""


class CannotBeSimulated(Exception):
    """A scheduler asked for what a simulation does not have."""


@dataclass(slots=True)
class Requested:
    """A buildset that would be asked for at ``at``. ``due_at``: the due time that it is for, if it is for one; ``cause``:
    what its scheduler reacted to; ``changes``: numbers, in the order in which they were given, from 1."""

    at: int
    scheduler: str
    cause: str
    reason: str
    due_at: int | None
    builders: tuple[str, ...]
    changes: tuple[int, ...]
    stamps: tuple[Mapping[str, Any], ...]
    properties: Mapping[str, Any]
    priority: int


@dataclass(slots=True)
class Passed:
    """Due times or changes that a scheduler would pass over, and why."""

    scheduler: str
    what: str
    first: int
    last: int
    count: int
    reason: str


@dataclass(slots=True)
class Trouble:
    """A scheduler's code failed at ``cause``, first at ``at``."""

    at: int
    scheduler: str
    cause: str
    error: str
    times: int = 1


@dataclass(slots=True)
class Outcome:
    """All that came of a simulation, in the order of time. ``left_out``: scheduler -> why it could not take part."""

    schedulers: list[str] = field(default_factory=list)
    requested: list[Requested] = field(default_factory=list)
    passed: list[Passed] = field(default_factory=list)
    troubles: dict[tuple[str, str], Trouble] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    turns: int = 0


@dataclass(frozen=True, slots=True)
class Span:
    """The simulated cluster begins at ``start``; what happens up to and including ``end`` counts. Microseconds."""

    start: int
    end: int


def simulate(
    config: MasterConfig,
    span: Span,
    given: Sequence[NewChange] = (),
    results: Mapping[str, Result] | None = None,
    processes: int = 1,
) -> Outcome:
    """Run the schedulers of ``config``. ``given``: changes, which have their times (``when_at``), within the span, and are in that order;
    ``results`` says what builders' tasks end with, if not with success. With more than one of ``processes``, schedulers
    that cannot know of one another are run apart, which changes nothing but the time that it takes.

    ConfigError; CannotStart; PartEnded.
    """
    faults = check(config)
    if faults:
        raise ConfigError(faults)
    apart = separable(config)
    try:
        if apart and processes > 1:
            parts = parts_of(config, processes)
            runs = [partial(_run, config, span, given if p.changes else (), results or {}, p.names) for p in parts]
            outcome = _joined(in_processes(runs, processes))
        else:
            outcome = _run(config, span, given, results or {}, None)
    finally:
        for plugin in config.plugins:  # another file may have plugins of the same names
            if plugin.path is not None:
                sys.modules.pop(plugin.path.stem, None)
    if apart:
        _in_order(outcome, [entry.name for entry in config.schedulers])
    return outcome


def _run(
    config: MasterConfig,
    span: Span,
    given: Sequence[NewChange],
    results: Mapping[str, Result],
    names: Collection[str] | None,
) -> Outcome:
    """Of the schedulers of these names alone; None: of all."""
    simulation = _Simulation(config, span, results, names)
    try:
        simulation.run(given)
    finally:
        simulation.close()
    return simulation.outcome


def _joined(parts: Iterable[Outcome]) -> Outcome:
    whole = Outcome()
    for part in parts:
        whole.schedulers += part.schedulers
        whole.requested += part.requested
        whole.passed += part.passed
        whole.troubles |= part.troubles
        whole.left_out |= part.left_out
        whole.turns += part.turns
    return whole


def _in_order(outcome: Outcome, names: Sequence[str]) -> None:
    """Where nothing comes of anything that another scheduler does, what happens at one moment is in the file's order."""
    place = {name: number for number, name in enumerate(names)}
    outcome.schedulers.sort(key=lambda name: place[name])
    outcome.requested.sort(key=lambda one: (one.at, place[one.scheduler]))
    outcome.passed.sort(key=lambda one: (place[one.scheduler], one.first))
    outcome.troubles = dict(sorted(outcome.troubles.items(), key=lambda item: (item[1].at, item[0])))
    outcome.left_out = dict(sorted(outcome.left_out.items(), key=lambda item: place.get(item[0], len(place))))


class _Simulation(Rehearsal):
    """One run. ``unfinished``: tasks that are committed, and how each will end."""

    def __init__(
        self, config: MasterConfig, span: Span, results: Mapping[str, Result], names: Collection[str] | None
    ) -> None:
        builders: list[BuilderRow] = [
            (b.name, b.max_parallel, b.on_lost, b.archive, b.collapse_requests) for b in config.builders
        ]
        super().__init__(
            span.start,
            builders,
            timezone=config.cluster.timezone,
            turn_timeout_s=config.cluster.turn_timeout,
            around=lambda: borrowed_reactor(_NoReactor()),
        )
        self._end = span.end
        self._builder_names = {number: name for name, number in self.builders.items()}
        self._results = {self.builders[name]: result for name, result in results.items() if name in self.builders}
        self.outcome = Outcome()
        self.unfinished: dict[int, Result] = {}
        self._asked: dict[int, tuple[int, int, str]] = {}
        """buildset id -> as which one, when, and in answer to what it was asked for"""
        self._places = itertools.count()
        self._recorded: list[tuple[int, Requested]] = []
        """turns are committed scheduler by scheduler; this is by the order in which they were asked for"""
        self._awaited: dict[int, bool] = {}
        """buildset id -> whether a scheduler waits for its end"""
        self._scheduler_names: dict[int, str] = {}
        self._committer: _LateCommitter
        found, _ = wanted(config, Catalogue())
        for one in found:
            if one.kind == "scheduler" and (names is None or one.name in names):
                self.outcome.schedulers.append(one.name)
                if issubclass(one.cls, (Try_Jobdir, Try_Userpass)):
                    self.outcome.left_out[one.name] = f"a {one.type} waits for people"
                else:
                    self._scheduler_names[self.add(one.name, one.type, one.make)] = one.name

    def run(self, given: Sequence[NewChange]) -> None:
        """From the beginning to the end."""
        observer: Any = self._logged
        globalLogPublisher.addObserver(observer)
        try:
            self.boot()
            for when, group in groupby(given, lambda change: change.when_at or 0):
                self.run_until(when)
                self.add_changes(list(group))
            self.run_until(self._end)
            while self._committer.busy:
                self._committer.commit_soon()
                self.settle()
        finally:
            globalLogPublisher.removeObserver(observer)
        self._recorded.sort(key=lambda one: one[0])
        self.outcome.requested = [requested for _, requested in self._recorded]

    # -- what a rehearsal asks --------------------------------------------------------------------------------------

    def make_committer(self, master: RehearsedMaster) -> Committer:
        self._committer = _LateCommitter(self, master)
        return self._committer

    def must_wait(self, how: str, what: Callable[..., Any]) -> bool:
        if how == "write" or what in _NEED_NOT_WAIT:
            return False
        if self._committer.busy:
            self._committer.commit_soon()
            return True
        self.end_tasks()
        return False

    @property
    def somebody_waits(self) -> bool:
        """Whether any scheduler hears of finished buildsets."""
        tools = None if self.master is None else self.master.tools
        return tools is not None and (tools.finished.wanted or tools.news.wanted)

    # -- what the committer asks ------------------------------------------------------------------------------------

    def is_urgent(self, effects: Effects) -> bool:
        """Whether somebody waits for these turns: nearly always nobody does."""
        e = effects
        if e.failures or e.answers or e.changes or e.begin_changes or e.begin_finished:
            return True
        if e.cancel_tasks or e.cancel_buildsets or e.calendar is not None:
            return True
        return self.somebody_waits and any(map(self._is_awaited, e.buildsets))

    def asked(self, tenure: Tenure) -> None:
        """A turn of it has ended, and waits for its commit."""
        if tenure.pending is not None:
            for b in reversed(tenure.pending.buildsets):
                if b.id in self._asked:
                    break
                self._asked[b.id] = (
                    next(self._places),
                    self.time.now_us(),
                    _in_words(tenure.newest_cause, tenure.scheduler),
                )

    def recorded(self, effects: Effects) -> None:
        """These turns are committed."""
        outcome, scheduler = self.outcome, self._scheduler_names[effects.scheduler_id]
        outcome.turns += effects.turns
        outcome.passed += [Passed(scheduler, s.what, s.first, s.last, s.count, s.reason) for s in effects.skips]
        for b in effects.buildsets:
            place, at, cause = self._asked.pop(b.id)
            self._awaited.pop(b.id, None)
            requested = Requested(
                at=at,
                scheduler=scheduler,
                cause=cause if b.due_at is None else "its time has come",
                reason=b.reason,
                due_at=b.due_at,
                builders=tuple(self._builder_names[builder] for _, builder, _ in b.tasks),
                changes=b.changes,
                stamps=tuple(_stamp(s) for s in b.stamps),
                properties=_values(b),
                priority=max((priority for _, _, priority in b.tasks), default=0),
            )
            self._recorded.append((place, requested))
            for task, builder, _ in b.tasks:
                self.unfinished[task] = self._results.get(builder, Result.SUCCESS)

    def end_tasks(self) -> None:
        """All tasks that are committed end."""
        if self.unfinished:
            ending, self.unfinished = self.unfinished, {}
            self.finish(ending)

    # -- how --------------------------------------------------------------------------------------------------------

    def _is_awaited(self, b: NewBuildset) -> bool:
        known = self._awaited.get(b.id)
        if known is None:
            assert self.master is not None
            finished = FinishedBuildset(
                id=b.id,
                number=0,
                scheduler=b.scheduler,
                reason=b.reason,
                result=worst(self._results.get(builder, Result.SUCCESS) for _, builder, _ in b.tasks),
                external_id=b.external_id,
                properties=_values(b),
                changes=b.changes,
                completed_at=self.time.now_us(),
            )
            tenures = self.master.activation.tenures.values()
            offered = any(tenure.finished.would_offer(finished) for tenure in tenures)
            known = self._awaited[b.id] = offered or self.master.tools.news.wanted
        return known

    def _logged(self, event: dict[str, Any]) -> None:
        failure = event.get("failure") or event.get("log_failure")
        if not isinstance(failure, Failure) or failure.value is None:
            return
        scheduler, cause = event.get("name", "?"), event.get("cause", "code outside of any turn")
        error = f"{type(failure.value).__name__}: {failure.getErrorMessage()}{_place(failure)}"
        trouble = self.outcome.troubles.setdefault(
            (scheduler, cause), Trouble(self.time.now_us(), scheduler, cause, error, 0)
        )
        trouble.times += 1
        if cause == "activate" and self.master is not None:
            self.outcome.left_out[scheduler] = f"it cannot be activated: {error}"
            for number, name in self._scheduler_names.items():
                if name == scheduler:
                    self.master.activation.standing.pop(number, None)


class _LateCommitter(Committer):
    """Commits when somebody waits for it, or when enough has gathered."""

    def __init__(self, simulation: _Simulation, master: RehearsedMaster) -> None:
        super().__init__(master.reactor, master.remote, master.name, master.lease.good, master.written, pause_s=0.0)
        self._simulation = simulation
        self._gathered = 0
        self._now = False

    @property
    def busy(self) -> bool:
        """Whether something waits to be committed, or is being committed."""
        return bool(self._queue) or self._running

    def submit(self, tenure: Tenure) -> None:
        self._queue[id(tenure)] = tenure
        self._gathered += 1
        self._simulation.asked(tenure)
        if self._gathered >= GATHERED or (tenure.pending is not None and self._simulation.is_urgent(tenure.pending)):
            self.commit_soon()

    def commit_soon(self) -> None:
        """At this moment of the simulated time."""
        self._now = True
        self._kick(0.0)

    def _kick(self, seconds: float) -> None:
        if self._now:
            super()._kick(seconds)

    async def _one_group(self) -> None:
        self._now, self._gathered = False, 0
        await super()._one_group()
        if self._simulation.somebody_waits:
            self._simulation.end_tasks()

    async def _write(self, effects: Sequence[Effects]) -> turns.Committed:
        answer = await super()._write(effects)
        for one in effects:
            if one.scheduler_id not in answer.refused:
                self._simulation.recorded(one)
        return answer


class _NoReactor:
    """Stands in for the process's reactor."""

    def _refuse(self, *_: object, **__: object) -> Any:
        raise CannotBeSimulated(
            "it asks Twisted's reactor to be called later, or for a thread; what a scheduler does by itself, outside of"
            " turns, cannot be simulated"
        )

    callLater = seconds = callFromThread = callInThread = getThreadPool = _refuse


def _in_words(cause: Cause | None, scheduler: Clustered) -> str:
    match cause:
        case None:
            return "its own code"
        case ChangeCame():
            return f"change {cause.change.number}"
        case BuildsetFinished():
            return f"{cause.buildset.scheduler}: {cause.buildset.result}"
        case TimerFired():
            return stable_timer(cause.key) if reaction_of(scheduler) == "stable" else f"timer {cause.key}"
        case Activation():
            return "it is active for the first time"
    return cause.id


def _stamp(stamp: Stamp) -> dict[str, Any]:
    found = {name: getattr(stamp, name) for name in ("codebase", "repository", "branch", "revision", "project")}
    return {name: value for name, value in found.items() if value}


def _values(b: NewBuildset) -> dict[str, Any]:
    return {name: value for name, (value, _) in json.loads(b.properties_json).items()}


def _place(failure: Failure) -> str:
    """Where it was raised, as far as that is known."""
    frames = failure.frames
    return f" ({frames[-1][1]}:{frames[-1][2]})" if frames else ""
