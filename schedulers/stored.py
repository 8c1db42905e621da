"""Stored schedules as the calendar sees them: what each starts, how it is served, and what has become of its firings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from twisted.internet.defer import Deferred

from ..config import suggest
from .arguments import checked_builder_names, checked_priority, checked_properties, checked_text
from .catchup import Policy, Skip
from .interface import BuildsetRequest, SchedulerFault, StampFields
from .overlap import Overlap
from .recurrence import Recurrence

Cause = Literal["due", "run now", "backfill"]
_TEXTS = ("branch", "revision", "repository", "project", "codebase", "reason")


@dataclass(frozen=True, slots=True)
class StartBuildset:
    """What a firing starts: a buildset, one task for each builder. ValueError names the argument."""

    builders: tuple[str, ...]
    properties: Mapping[str, Any] = field(default_factory=dict)
    branch: str | None = None
    revision: str | None = None
    repository: str = ""
    project: str = ""
    codebase: str = ""
    reason: str = ""
    priority: int = 0

    def __post_init__(self) -> None:
        try:
            builders = checked_builder_names(self.builders)
            if callable(builders):
                raise ValueError("builderNames: expected names, got a function")
        except ValueError as error:
            raise ValueError(str(error).replace("builderNames:", "builders:", 1)) from None
        object.__setattr__(self, "builders", builders)
        try:
            object.__setattr__(self, "properties", checked_properties(self.properties))
        except TypeError as error:
            raise ValueError(f"properties: {error}") from None
        for name in _TEXTS:
            value = getattr(self, name)
            if value is not None or name not in ("branch", "revision"):
                try:
                    checked_text(name, value)
                except SchedulerFault as error:
                    raise ValueError(str(error)) from None
        if checked_priority(self.priority) is None or callable(self.priority):
            raise ValueError(f"priority: expected a whole number, got {self.priority!r}")

    def to_json(self) -> dict[str, Any]:
        """JSON that ``start_from_json`` reads; what is as it is without being said is left out."""
        said = {name: getattr(self, name) for name in (*_TEXTS, "priority") if getattr(self, name)}
        said |= {"properties": dict(self.properties)} if self.properties else {}
        return {"buildset": {"builders": list(self.builders), **said}}


def start_from_json(value: Any) -> StartBuildset:
    """What is to be started. ValueError: nothing that this release knows."""
    if not isinstance(value, Mapping) or set(value) != {"buildset"} or not isinstance(value["buildset"], Mapping):
        raise ValueError(f"start: expected {{'buildset': {{...}}}}, got {value!r}")
    given = dict(value["buildset"])
    known = {"builders", "properties", "priority", *_TEXTS}
    for key in given:
        if key not in known:
            meant = suggest(str(key), known)
            raise ValueError(f"{key}: unknown; " + (f"did you mean {meant!r}?" if meant else f"known: {sorted(known)}"))
    builders = given.pop("builders", ())
    if not isinstance(builders, (list, tuple)):
        raise ValueError(f"builders: expected a list of names, got {builders!r}")
    return StartBuildset(tuple(builders), **given)


@dataclass(frozen=True, slots=True)
class StoredSchedule:
    """A schedule as the calendar serves it; times in microseconds. ``fault``: it cannot be read, and why."""

    id: int
    name: str | None
    rule: Recurrence
    start: StartBuildset
    policy: Policy
    overlap: Overlap
    since: int
    examined: int
    next_due: int | None
    version: int
    paused: bool = False
    fault: str = ""

    @property
    def label(self) -> str:
        """Its name, or else its number."""
        return self.name or str(self.id)


@dataclass(frozen=True, slots=True)
class Execution:
    """A firing that is unfinished: it has ``started``, or waits for the run before it."""

    id: int
    schedule_id: int
    due_at: int | None
    cause: Cause
    started: bool


class StoredSchedules(Protocol):
    """What the calendar may ask of its master beyond what every scheduler may (``master.stored``); effects join the turn."""

    def consume(self) -> Deferred[None]:
        """From ``activate``: every schedule that falls due becomes a cause (``gotSchedule``)."""

    def executions(self, schedule_id: int) -> Sequence[Execution]:
        """Those of a schedule that are unfinished, oldest first, as this turn sees them."""

    def execution(self, execution_id: int) -> Execution | None:
        """An unfinished one by its id."""

    def unfinished(self) -> Sequence[Execution]:
        """Those of all schedules that were unfinished when this turn began."""

    def find(self, ids: Iterable[int]) -> Deferred[list[StoredSchedule]]:
        """The schedules of these ids that there are."""

    def served(self, schedule_id: int, first: int, last: int) -> Deferred[list[int]]:
        """The nominal times at ``first <= t <= last`` that have an execution."""

    def move(
        self, schedule: StoredSchedule, examined: int, next_due: int | None, paused_why: str | None = None
    ) -> Deferred[None]:
        """It is served up to ``examined``; look at it again at ``next_due`` (None: it is over)."""

    def skip(self, schedule_id: int, skips: Sequence[Skip]) -> Deferred[None]:
        """Record nominal times that are not served."""

    def execute(
        self, schedule_id: int, due_at: int | None, cause: Cause, request: BuildsetRequest | None
    ) -> Deferred[int]:
        """A new execution; its id is also the buildset's. Without a request it waits."""

    def start(self, execution_id: int, request: BuildsetRequest) -> Deferred[None]:
        """One that has waited starts."""

    def end(self, execution_id: int, result: str) -> Deferred[None]:
        """One has finished."""

    def drop(self, execution_id: int, why: str) -> Deferred[None]:
        """One that has waited will not start."""


def request_of(schedule: StoredSchedule, due_at: int | None, due_text: str | None, cause: Cause) -> BuildsetRequest:
    """The buildset that a firing asks for."""
    start = schedule.start
    when = "" if due_text is None else f", due {due_text}"
    how = "" if cause == "due" else f" ({cause})"
    properties = {name: (value, "Schedule") for name, value in start.properties.items()}
    properties["schedule"] = (schedule.label, "Schedule")
    if due_text is not None:
        properties["due"] = (due_text, "Schedule")
    stamp = StampFields(start.codebase, start.repository, start.branch, start.revision, start.project)
    return BuildsetRequest(
        reason=start.reason or f"Schedule {schedule.label}{when}{how}",
        builders=start.builders,
        stamps=(stamp,),
        properties=properties,
        priority=start.priority,
    )
