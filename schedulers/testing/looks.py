"""What a test looks at: plain values, as they are in the database at that moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ...db.requested import BuildsetLine
from ..base import to_datetime
from ..interface import StampFields


@dataclass(frozen=True, slots=True)
class Task:
    """One builder's part of a buildset; ``result`` is None until it has ended."""

    id: int
    builder: str
    state: str
    result: str | None
    priority: int


@dataclass(frozen=True, slots=True)
class Buildset:
    """A buildset. ``at``: when it was asked for; ``due_at``: the due time that it is for, if it is for one; ``result``:
    None until all of its tasks have ended. ``sources`` says of each property who gave it."""

    id: int
    scheduler: str | None
    reason: str
    at: datetime
    due_at: datetime | None
    builders: tuple[str, ...]
    changes: tuple[int, ...]
    sourcestamps: tuple[StampFields, ...]
    properties: Mapping[str, Any]
    sources: Mapping[str, str]
    priority: int
    external_id: str | None
    result: str | None
    tasks: tuple[Task, ...]

    @property
    def complete(self) -> bool:
        """Whether all of its tasks have ended."""
        return self.result is not None

    @property
    def revision(self) -> str | None:
        """Of its only source stamp; ValueError if it has several, or none."""
        (stamp,) = self.sourcestamps
        return stamp.revision

    @property
    def branch(self) -> str | None:
        """The same of the branch."""
        (stamp,) = self.sourcestamps
        return stamp.branch


@dataclass(frozen=True, slots=True)
class Failed:
    """A cause that the scheduler's code failed to answer. ``retry_at`` None: it is set aside, and a person is needed."""

    cause: str
    attempts: int
    retry_at: datetime | None
    error: str

    @property
    def set_aside(self) -> bool:
        """Whether it will not be tried again by itself."""
        return self.retry_at is None


@dataclass(frozen=True, slots=True)
class Skipped:
    """Due times (``what`` 'ticks': first and last are datetimes) or changes ('changes': numbers) that were passed over."""

    what: str
    first: Any
    last: Any
    count: int
    reason: str


@dataclass(frozen=True, slots=True)
class Request:
    """A force, trigger or other message; ``answer`` is None until a turn of the scheduler has answered it."""

    id: int
    scheduler: str
    answer: Mapping[str, Any] | None
    buildset: Buildset | None

    @property
    def error(self) -> str | None:
        """Why it was refused."""
        return None if self.answer is None else self.answer.get("error")


def buildset_of(line: BuildsetLine, stamps: tuple[StampFields, ...]) -> Buildset:
    """A buildset as the database knows it."""
    return Buildset(
        id=line.id,
        scheduler=line.scheduler,
        reason=line.reason,
        at=to_datetime(line.submitted_at),
        due_at=None if line.due_at is None else to_datetime(line.due_at),
        builders=tuple(task.builder for task in line.tasks),
        changes=tuple(line.changes),
        sourcestamps=stamps,
        properties={name: value for name, (value, _) in line.properties.items()},
        sources={name: source for name, (_, source) in line.properties.items()},
        priority=max((task.priority for task in line.tasks), default=0),
        external_id=line.external_id,
        result=line.result,
        tasks=tuple(Task(t.id, t.builder, t.state, t.result, t.priority) for t in line.tasks),
    )
