"""What code written for Buildbot may ask of its master beyond what schedulers may otherwise (``master.records``): it only reads.

Times are whole microseconds since the epoch, UTC. Answers are of what is committed: a turn does not see there what it asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from .changes import Change
from .interface import StampFields

MOST = 1000
"""rows of one answer, unless it is asked for by id"""


@dataclass(frozen=True, slots=True)
class Request:
    """A task: Buildbot's build request, and the build that carries it out."""

    id: int
    buildset_id: int | None
    builder_id: int
    builder: str
    ended: bool
    result: str | None
    priority: int
    waited_for: bool
    incarnation: str | None
    submitted_at: int
    started_at: int | None
    finished_at: int | None
    status_line: str
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Buildset:
    """A buildset; ``properties`` are name -> [value, source], ``stamps`` id -> fields."""

    id: int
    scheduler: str | None
    reason: str
    external_id: str | None
    submitted_at: int
    completed_at: int | None
    result: str | None
    parent: Mapping[str, Any]
    properties: Mapping[str, Any]
    stamps: Mapping[int, StampFields]
    changes: Sequence[int]


@dataclass(frozen=True, slots=True)
class Holder:
    """A scheduler, and the name of the master that it is active on."""

    id: int
    name: str
    enabled: bool
    master: str | None


@dataclass(frozen=True, slots=True)
class News:
    """How far everything is: the newest change, the newest finished buildset, and each task (task, buildset, ended) of a
    buildset of which tasks have not ended."""

    change: int
    finished: int
    open_tasks: Sequence[tuple[int, int, bool]]


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished buildset, by the order in which they finished, and its tasks."""

    number: int
    id: int
    tasks: Sequence[int]


class Records(Protocol):
    """Read by ``self.master.db``, ``self.master.data`` and ``self.master.mq``."""

    @property
    def reactor(self) -> Any:
        """What ``callLater`` is asked of."""

    @property
    def scheduler_id(self) -> int:
        """This scheduler's row."""

    @property
    def in_turn(self) -> bool:
        """Whether a turn of this instance is open: what is asked for now joins it."""

    def changes(self, most: int = MOST) -> Deferred[list[Change]]:
        """The newest ones, oldest first."""

    def buildsets(self, ids: Sequence[int] | None = None, most: int = MOST) -> Deferred[list[Buildset]]:
        """Those of these ids, or the newest ones; oldest first."""

    def requests(
        self,
        ids: Sequence[int] | None = None,
        *,
        buildset: int | None = None,
        builder: int | None = None,
        most: int = MOST,
    ) -> Deferred[list[Request]]:
        """The tasks of these ids, or the newest ones, of a buildset or of a builder if given; oldest first."""

    def schedulers(self) -> Deferred[list[Holder]]:
        """All of them."""

    def news(self) -> Deferred[News]:
        """How far everything is now."""

    def finished_after(self, number: int, most: int = MOST) -> Deferred[list[Finished]]:
        """The buildsets that finished after the one of that number."""

    def watch(self, offer: Callable[[News], None]) -> None:
        """Have ``offer`` called whenever something may be new, as long as this instance is active."""
