"""The histories that a run has left: rows of the database, ground truth, faults, lines of tasks. Plain values, read once.

Times in rows are whole microseconds by the database's clock; in events, seconds by the torture's.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .history import Configured, Event, Events, FaultBegan, OrderAsked, Phase


@dataclass(frozen=True, slots=True)
class Scheduler:
    id: int
    kind: str
    name: str
    enabled: bool
    disabled_why: str | None
    incarnation: str | None
    term: int
    change_start: int | None
    change_cursor: int | None
    finished_start: int | None
    finished_cursor: int | None
    turns: int


@dataclass(frozen=True, slots=True)
class Ownership:
    scheduler_id: int
    term: int
    incarnation: str | None
    since: int
    turns: int
    why: str


@dataclass(frozen=True, slots=True)
class Master:
    incarnation: str
    name: str
    state: str
    pid: int
    lease_until: int
    started_at: int
    ended_at: int | None
    ended_why: str | None


@dataclass(frozen=True, slots=True)
class Buildset:
    id: int
    scheduler_id: int | None
    term: int | None
    turn: int | None
    incarnation: str | None
    reason: str
    submitted_at: int
    due_at: int | None
    external_id: str | None
    tasks_left: int
    result: str | None
    completed_at: int | None
    finished_number: int | None


@dataclass(frozen=True, slots=True)
class BuildsetChange:
    buildset_id: int
    change_number: int


@dataclass(frozen=True, slots=True)
class Change:
    number: int
    request_id: str
    received_at: int
    branch: str | None
    category: str | None
    files_json: str
    revision: str | None = None

    @property
    def files(self) -> list[str]:
        return list(json.loads(self.files_json))


@dataclass(frozen=True, slots=True)
class Skip:
    id: int
    scheduler_id: int
    what: str
    first: int
    last: int
    count: int
    reason: str
    at: int
    term: int | None
    turn: int | None

    def __contains__(self, place: int) -> bool:
        return self.first <= place <= self.last


@dataclass(frozen=True, slots=True)
class State:
    scheduler_id: int
    key: str
    value_json: str
    term: int | None
    turn: int | None


@dataclass(frozen=True, slots=True)
class Timer:
    scheduler_id: int
    key: str
    due: int


@dataclass(frozen=True, slots=True)
class Classification:
    scheduler_id: int
    change_number: int
    important: bool


@dataclass(frozen=True, slots=True)
class Failure:
    scheduler_id: int
    cause: str
    attempts: int
    retry_at: int | None
    error: str


@dataclass(frozen=True, slots=True)
class Message:
    id: int
    scheduler_id: int
    key: str
    made_at: int
    answered_at: int | None
    answer_json: str | None
    kind: str = "force"

    @property
    def answer(self) -> dict[str, Any]:
        """{} if there is none yet."""
        return dict(json.loads(self.answer_json)) if self.answer_json else {}


@dataclass(frozen=True, slots=True)
class Builder:
    id: int
    name: str
    max_parallel: int | None
    on_lost: str


@dataclass(frozen=True, slots=True)
class Task:
    id: int
    buildset_id: int | None
    builder_id: int
    state: str
    result: str | None
    attempt: int
    submitted_at: int
    started_at: int | None
    finished_at: int | None
    status_line: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    task_id: int
    attempt: int
    number: int
    state: str
    started_at: int | None
    finished_at: int | None


@dataclass(frozen=True, slots=True)
class Counter:
    name: str
    value: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """A stored schedule that has not been removed."""

    id: int
    name: str | None
    paused: bool
    made_at: int
    examined: int
    next_due: int | None


@dataclass(frozen=True, slots=True)
class Execution:
    id: int
    schedule_id: int
    due_at: int | None
    cause: str
    state: str
    result: str | None
    why: str
    made_at: int
    started_at: int | None
    ended_at: int | None


@dataclass(frozen=True, slots=True)
class ScheduleSkip:
    schedule_id: int
    first: int
    last: int
    count: int
    reason: str
    at: int

    def __contains__(self, place: int) -> bool:
        return self.first <= place <= self.last


@dataclass(frozen=True)
class Rows:
    """The tables that the invariants look at, whole."""

    schedulers: list[Scheduler] = field(default_factory=list)
    ownership: list[Ownership] = field(default_factory=list)
    masters: list[Master] = field(default_factory=list)
    buildsets: list[Buildset] = field(default_factory=list)
    buildset_changes: list[BuildsetChange] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)
    scheduler_state: list[State] = field(default_factory=list)
    timers: list[Timer] = field(default_factory=list)
    classifications: list[Classification] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    builders: list[Builder] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    counters: list[Counter] = field(default_factory=list)
    schedules: list[Schedule] = field(default_factory=list)
    executions: list[Execution] = field(default_factory=list)
    schedule_skips: list[ScheduleSkip] = field(default_factory=list)


_NONE = Events(())


@dataclass(frozen=True)
class Histories:
    """All that a run has left. ``dialect``: 'sqlite' or 'postgresql'."""

    dialect: str
    rows: Rows
    truth: Events = _NONE
    faults: Events = _NONE
    lines: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()
    """lines of the masters' logs that tell of a defect"""

    # -- rows by what they belong to ----------------------------------------------------------------------------------

    @cached_property
    def schedulers(self) -> dict[int, Scheduler]:
        return {s.id: s for s in self.rows.schedulers}

    @cached_property
    def by_name(self) -> dict[str, Scheduler]:
        return {s.name: s for s in self.rows.schedulers if s.kind == "scheduler"}

    @cached_property
    def owners(self) -> dict[int, list[Ownership]]:
        """By scheduler, in the order of terms."""
        return _grouped(sorted(self.rows.ownership, key=lambda o: o.term))

    @cached_property
    def masters(self) -> dict[str, Master]:
        return {m.incarnation: m for m in self.rows.masters}

    @cached_property
    def buildsets(self) -> dict[int, list[Buildset]]:
        """By scheduler, in the order in which they were committed."""
        return _grouped(sorted((b for b in self.rows.buildsets if b.turn is not None), key=lambda b: (b.turn, b.id)))

    @cached_property
    def changes_of(self) -> dict[int, list[int]]:
        """The changes of a buildset, in order."""
        found: dict[int, list[int]] = defaultdict(list)
        for row in sorted(self.rows.buildset_changes, key=lambda r: r.change_number):
            found[row.buildset_id].append(row.change_number)
        return found

    @cached_property
    def changes(self) -> dict[int, Change]:
        return {c.number: c for c in sorted(self.rows.changes, key=lambda c: c.number)}

    @cached_property
    def skips(self) -> dict[int, list[Skip]]:
        return _grouped(self.rows.skips)

    def skipped(self, scheduler_id: int, what: str) -> list[Skip]:
        return [skip for skip in self.skips.get(scheduler_id, []) if skip.what == what]

    @cached_property
    def states(self) -> dict[int, dict[str, Any]]:
        found: dict[int, dict[str, Any]] = defaultdict(dict)
        for row in self.rows.scheduler_state:
            found[row.scheduler_id][row.key] = json.loads(row.value_json)
        return found

    @cached_property
    def failures(self) -> dict[int, list[Failure]]:
        return _grouped(self.rows.failures)

    @cached_property
    def messages(self) -> dict[int, list[Message]]:
        return _grouped(sorted(self.rows.messages, key=lambda m: m.id))

    @cached_property
    def builders(self) -> dict[int, str]:
        """Their names."""
        return {b.id: b.name for b in self.rows.builders}

    @cached_property
    def tasks_of(self) -> dict[int, list[Task]]:
        """By buildset."""
        found: dict[int, list[Task]] = defaultdict(list)
        for t in self.rows.tasks:
            if t.buildset_id is not None:
                found[t.buildset_id].append(t)
        return found

    @cached_property
    def timers(self) -> dict[int, list[Timer]]:
        return _grouped(self.rows.timers)

    # -- what was told and done ---------------------------------------------------------------------------------------

    @cached_property
    def entries(self) -> dict[str, list[dict[str, Any]]]:
        """Every entry that a scheduler had in any master's file, each once."""
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for event in self.truth.of(Configured):
            for name, entry in event.schedulers.items():
                if entry not in found[name]:
                    found[name].append(entry)
        return found

    @cached_property
    def backfills(self) -> dict[str, list[dict[str, Any]]]:
        """What was asked of a scheduler's, or a stored schedule's, past due times: ``first`` and ``last``."""
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for order in self.truth.of(OrderAsked):
            if order.action in ("backfill", "schedule-backfill"):
                found[order.scheduler].append(order.args)
        return found

    def is_configured(self, name: str) -> bool:
        """Whether a master's file had it in the end; True if nothing is known of files."""
        last = {e.master: e.schedulers for e in self.truth.of(Configured)}
        return not last or any(name in schedulers for schedulers in last.values())

    def phase(self, phase: str) -> float | None:
        """When that phase began; None: it did not."""
        return next((event.at for event in self.truth.of(Phase) if event.phase == phase), None)

    @cached_property
    def one_clock(self) -> bool:
        """Whether all times in the database are by one clock: PostgreSQL's, or the host's that nobody meddled with."""
        return self.dialect == "postgresql" or not any(f.fault.startswith("clock") for f in self.faults.of(FaultBegan))

    def name(self, scheduler_id: int) -> str:
        found = self.schedulers.get(scheduler_id)
        return f"scheduler {scheduler_id}" if found is None else found.name

    def events(self) -> list[Event]:
        """Ground truth and faults together, in the order of time."""
        return sorted((*self.truth.all, *self.faults.all), key=lambda event: event.at)


def _grouped(rows: Iterable[Any]) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = defaultdict(list)
    for row in rows:
        found[row.scheduler_id].append(row)
    return found
