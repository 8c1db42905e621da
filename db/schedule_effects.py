"""What turns of the calendar do to stored schedules and their executions, as data."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ScheduleMove:
    """A stored schedule has been served up to ``examined``; it must still be of ``version``, and at ``before``."""

    version: int
    before: int
    examined: int
    next_due: int | None
    ended: bool
    paused_why: str | None = None
    """Given: the calendar cannot go on with it; it is paused"""


@dataclass(frozen=True, slots=True)
class NewExecution:
    """A firing. ``due_at`` None: at no nominal time; ``cause``: 'due', 'run now' or 'backfill'; waiting, or started."""

    id: int
    schedule_id: int
    due_at: int | None
    cause: str
    started: bool


@dataclass(frozen=True, slots=True)
class ExecutionMove:
    """An execution has become ``started``, ``finished`` (``result`` says how) or ``dropped`` (``why`` says why)."""

    state: str
    result: str | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class ScheduleSkip:
    """Nominal times of a schedule that were not served, and why."""

    schedule_id: int
    first: int
    last: int
    count: int
    reason: str


@dataclass(slots=True)
class CalendarEffects:
    """Several turns' merge into one: what counts is what is there in the end, and what must have been there at the start."""

    schedules: dict[int, ScheduleMove] = field(default_factory=dict)
    new: list[NewExecution] = field(default_factory=list)
    executions: dict[int, ExecutionMove] = field(default_factory=dict)
    skips: list[ScheduleSkip] = field(default_factory=list)

    def move(self, schedule_id: int, move: ScheduleMove) -> None:
        """A schedule goes on from where an earlier turn, not committed yet, has left it."""
        earlier = self.schedules.get(schedule_id)
        before = move.before if earlier is None else earlier.before
        self.schedules[schedule_id] = ScheduleMove(
            move.version, before, move.examined, move.next_due, move.ended, move.paused_why
        )

    def merge(self, later: CalendarEffects) -> None:
        """Add what a later turn does."""
        for schedule_id, move in later.schedules.items():
            self.move(schedule_id, move)
        self.new += later.new
        self.executions.update(later.executions)
        self.skips += later.skips
