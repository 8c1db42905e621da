"""A turn as data: everything that a scheduler's reaction does to the database, gathered before it is committed.

Several turns of one scheduler that follow one another merge into one ``Effects``: what counts is what is there in the
end, and what must have been there at the start. JSON values are text here; times are microseconds.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from .schedule_effects import CalendarEffects


@dataclass(frozen=True, slots=True)
class Stamp:
    """A sourcestamp: which revision of which branch of which repository. ``content`` is its key."""

    codebase: str
    repository: str
    branch: str | None
    revision: str | None
    project: str
    patch_json: str | None
    content: str

    @classmethod
    def of(
        cls,
        codebase: str = "",
        repository: str = "",
        branch: str | None = None,
        revision: str | None = None,
        project: str = "",
        patch_json: str | None = None,
    ) -> Stamp:
        """A stamp with its key worked out."""
        made = _known_stamp if patch_json is None else _stamp  # a patch is large, and hardly ever the same
        return made(codebase, repository, branch, revision, project, patch_json)


def _stamp(
    codebase: str, repository: str, branch: str | None, revision: str | None, project: str, patch_json: str | None
) -> Stamp:
    fields = (codebase, repository, branch, revision, project, patch_json)
    content = hashlib.blake2b(json.dumps(fields).encode(), digest_size=16).hexdigest()
    return Stamp(*fields, content)


_known_stamp = lru_cache(maxsize=4096)(_stamp)


@dataclass(slots=True)
class NewBuildset:
    """A buildset to be, with one ``(task id, builder id, priority)`` for each builder."""

    id: int
    scheduler: str | None
    reason: str
    properties_json: str
    stamps: tuple[Stamp, ...]
    tasks: tuple[tuple[int, int, int], ...]
    changes: tuple[int, ...] = ()
    due_at: int | None = None
    external_id: str | None = None
    waited_for: bool = False
    parent_json: str | None = None
    cause: str | None = None
    """of the turn that made it: 'change:17', 'timer:KEY', 'message:5', 'finished:9', 'schedule:3', 'activate'"""


@dataclass(frozen=True, slots=True)
class NewChange:
    """A change to be. ``request_id`` makes a repeated insert one change; ``when_at`` None: the moment it is received."""

    request_id: str
    who: str
    files_json: str
    comments: str
    branch: str | None
    revision: str | None
    category: str | None
    repository: str
    codebase: str
    project: str
    properties_json: str
    revlink: str
    committer: str | None
    when_at: int | None


@dataclass(frozen=True, slots=True)
class NewSkip:
    """Causes that were passed over, and why: ``what`` is 'ticks' (first and last are due times) or 'changes' (numbers)."""

    what: str
    first: int
    last: int
    count: int
    reason: str


@dataclass(frozen=True, slots=True)
class NewFailure:
    """A cause that user code failed to answer. ``retry_us`` from now; None: set aside."""

    detail_json: str
    attempts: int
    retry_us: int | None
    error: str


@dataclass(slots=True)
class Effects:
    """What one or more turns of a scheduler do, under one term."""

    scheduler_id: int
    term: int
    turns: int = 1
    fired: dict[str, int] = field(default_factory=dict)
    """timer key -> the due time that must be in the table still"""
    timers: dict[str, int | None] = field(default_factory=dict)
    """timer key -> its due time afterwards; None: gone"""
    state: dict[str, str] = field(default_factory=dict)
    classified: dict[int, bool | None] = field(default_factory=dict)
    """change number -> important; None: flushed"""
    buildsets: list[NewBuildset] = field(default_factory=list)
    changes: list[NewChange] = field(default_factory=list)
    skips: list[NewSkip] = field(default_factory=list)
    cancel_tasks: dict[int, str] = field(default_factory=dict)
    """task id -> why it is cancelled, unless it has come to rest"""
    cancel_buildsets: dict[int, str] = field(default_factory=dict)
    """buildset id -> why all of its tasks that have not come to rest are cancelled"""
    answers: list[tuple[int, str]] = field(default_factory=list)
    """(message id, answer as JSON)"""
    failures: dict[str, NewFailure | None] = field(default_factory=dict)
    """cause -> what is to be remembered of it; None: it has been answered after all"""
    change_cursor: tuple[int, int] | None = None
    """(from, to): every change up to ``to`` has been answered or was not for it"""
    finished_cursor: tuple[int, int] | None = None
    begin_changes: bool = False
    """From the commit of this turn on it gets every change (if it never did before)"""
    begin_finished: bool = False
    calendar: CalendarEffects | None = None
    """what the calendar does to stored schedules"""
    about: tuple[int | None, str] | None = None
    """(the change cursor where it begins, what it is as JSON) of an instance that has been activated"""

    def merge(self, later: Effects) -> None:
        """Add what a later turn of the same term does."""
        self.turns += later.turns
        for key, due in later.fired.items():
            if key not in self.timers:
                self.fired[key] = due
        self.timers.update(later.timers)
        self.state.update(later.state)
        self.classified.update(later.classified)
        self.buildsets += later.buildsets
        self.changes += later.changes
        self.skips += later.skips
        self.cancel_tasks.update(later.cancel_tasks)
        self.cancel_buildsets.update(later.cancel_buildsets)
        self.answers += later.answers
        self.failures.update(later.failures)
        self.change_cursor = _joined(self.change_cursor, later.change_cursor)
        self.finished_cursor = _joined(self.finished_cursor, later.finished_cursor)
        self.begin_changes |= later.begin_changes
        self.begin_finished |= later.begin_finished
        self.about = later.about or self.about
        if self.calendar is None:
            self.calendar = later.calendar
        elif later.calendar is not None:
            self.calendar.merge(later.calendar)


def _joined(first: tuple[int, int] | None, later: tuple[int, int] | None) -> tuple[int, int] | None:
    if first is None or later is None:
        return later if first is None else first
    return first[0], later[1]


def to_json(value: Any) -> str:
    """JSON text of a value; TypeError or ValueError for what is not JSON (NaN, a set, an object)."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
