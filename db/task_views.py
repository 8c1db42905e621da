"""What people and programs ask about tasks: listings, one task with its steps, a log as it grows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, and_, or_, select
from sqlalchemy.engine import Connection

from .schema import builders, buildsets, log_chunks, masters, steps, tasks
from .stored import read_object, read_property_values

_LINE = (
    tasks.c.id,
    tasks.c.buildset_id,
    builders.c.name.label("builder"),
    tasks.c.state,
    tasks.c.result,
    tasks.c.priority,
    tasks.c.attempt,
    masters.c.name.label("master"),
    tasks.c.submitted_at,
    tasks.c.started_at,
    tasks.c.finished_at,
    tasks.c.status_line,
)
_LINES: Select[Any] = select(*_LINE).select_from(
    tasks.outerjoin(builders, builders.c.id == tasks.c.builder_id).outerjoin(
        masters, masters.c.incarnation == tasks.c.incarnation
    )
)


@dataclass(frozen=True, slots=True)
class TaskLine:
    """One line of a listing; times in microseconds since the epoch. ``master``: who runs it, or ran it last."""

    id: int
    buildset_id: int | None
    builder: str | None
    state: str
    result: str | None
    priority: int
    attempt: int
    master: str | None
    submitted_at: int
    started_at: int | None
    finished_at: int | None
    status_line: str


@dataclass(frozen=True, slots=True)
class StepLine:
    """A step of one attempt."""

    attempt: int
    number: int
    name: str
    state: str
    started_at: int | None
    finished_at: int | None
    exit_code: int | None
    why: str | None


@dataclass(frozen=True, slots=True)
class ShownTask:
    """A task with all that is kept of it; properties are its buildset's, then its own."""

    task: TaskLine
    scheduler: str | None
    reason: str | None
    properties: dict[str, Any]
    steps: tuple[StepLine, ...]


@dataclass(frozen=True, slots=True)
class LogChunk:
    """A piece of output; ``(attempt, step, sequence)`` is the place to ask on from."""

    attempt: int
    step: int
    sequence: int
    at: int
    text: str


def listing(
    conn: Connection,
    *,
    buildset: int | None = None,
    builder: str | None = None,
    states: Iterable[str] | None = None,
    most: int = 50,
) -> list[TaskLine]:
    """The newest tasks, at most ``most``, of one buildset, of one builder, in some states; each filter may be left out."""
    query = _LINES.order_by(tasks.c.submitted_at.desc(), tasks.c.id.desc()).limit(most)
    if buildset is not None:
        query = query.where(tasks.c.buildset_id == buildset)
    if builder is not None:
        query = query.where(builders.c.name == builder)
    if states is not None:
        query = query.where(tasks.c.state.in_(tuple(states)))
    return [TaskLine(*row) for row in conn.execute(query)]


def show(conn: Connection, task: int) -> ShownTask | None:
    """One task with the steps of every attempt; None: there is no such task."""
    row = conn.execute(_LINES.where(tasks.c.id == task)).one_or_none()
    if row is None:
        return None
    line = TaskLine(*row)
    own = conn.execute(select(tasks.c.properties_json).where(tasks.c.id == task)).scalar_one()
    buildset = conn.execute(
        select(buildsets.c.scheduler, buildsets.c.reason, buildsets.c.properties_json).where(
            buildsets.c.id == line.buildset_id
        )
    ).one_or_none()
    place = f"properties_json of buildset {line.buildset_id}"
    shared = read_property_values(buildset.properties_json, place) if buildset else {}
    found = conn.execute(
        select(
            steps.c.attempt,
            steps.c.number,
            steps.c.name,
            steps.c.state,
            steps.c.started_at,
            steps.c.finished_at,
            steps.c.exit_code,
            steps.c.why,
        )
        .where(steps.c.task_id == task)
        .order_by(steps.c.attempt, steps.c.number)
    )
    return ShownTask(
        line,
        buildset.scheduler if buildset else None,
        buildset.reason if buildset else None,
        shared | read_object(own, f"properties_json of task {task}"),
        tuple(StepLine(*step) for step in found),
    )


def log_after(
    conn: Connection, task: int, attempt: int, step: int, sequence: int = -1, most: int = 100
) -> list[LogChunk]:
    """Up to ``most`` pieces of one attempt's output after (``step``, ``sequence``), in order, through all later steps."""
    c = log_chunks.c
    query = (
        select(c.attempt, c.step, c.sequence, c.at, c.text)
        .where(
            c.task_id == task,
            c.attempt == attempt,
            or_(c.step > step, and_(c.step == step, c.sequence > sequence)),
        )
        .order_by(c.step, c.sequence)
        .limit(most)
    )
    return [LogChunk(*row) for row in conn.execute(query)]
