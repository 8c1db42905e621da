"""The one small thing through which a scheduler knows its master. Times are whole microseconds since the epoch, UTC."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred

from .catchup import Skip
from .changes import Change

if TYPE_CHECKING:
    from .records import Records
    from .stored import StoredSchedules


class NotActive(Exception):
    """This instance does not own its scheduler (any more): whatever it asked for was not done. Stop; do not retry."""


class SchedulerFault(Exception):
    """A scheduler asked for something that makes no sense (an unknown builder, two stamps of one codebase, ...)."""


@dataclass(frozen=True, slots=True)
class StampFields:
    """What a sourcestamp is made of."""

    codebase: str = ""
    repository: str = ""
    branch: str | None = None
    revision: str | None = None
    project: str = ""
    patch_json: str | None = None


@dataclass(slots=True)
class BuildsetRequest:
    """A buildset to ask for: one task for each of ``builders``. ``properties`` are name -> [value, source]."""

    reason: str
    builders: tuple[str, ...]
    stamps: tuple[StampFields, ...]
    properties: Mapping[str, tuple[Any, str]] = field(default_factory=dict)
    priority: int = 0
    changes: tuple[int, ...] = ()
    due_at: int | None = None
    external_id: str | None = None
    waited_for: bool = False
    parent: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class FinishedBuildset:
    """A buildset that has completed, as ``gotBuildsetComplete`` gets it."""

    id: int
    number: int
    scheduler: str | None
    reason: str
    result: str
    external_id: str | None
    properties: Mapping[str, Any]
    changes: tuple[int, ...]
    completed_at: int
    fault: str = ""
    """why its row could not be read in full; such a one is offered to nobody's code"""


@dataclass(frozen=True, slots=True)
class UnfinishedTask:
    """A task that has not come to rest, and what its buildset builds."""

    id: int
    builder: str
    buildset_id: int
    stamps: tuple[StampFields, ...]


@dataclass(frozen=True, slots=True)
class FailedTask:
    """A task that failed while others of its buildset have not come to rest."""

    id: int
    builder: str
    buildset_id: int
    result: str


class MasterInterface(Protocol):
    """What a scheduler may ask of its master. Everything that changes something joins the open turn, or is one of its own.

    Every method but ``now`` raises NotActive (or gives a Deferred that fails with it) once the instance has been
    replaced or deactivated. Deferreds fire at once inside a turn; outside of one, after the commit.
    """

    @property
    def timezone(self) -> str:
        """``cluster.timezone``."""

    @property
    def active_since(self) -> int:
        """When this term began."""

    @property
    def enabled_at(self) -> int | None:
        """When a person last enabled it; None: it never was disabled."""

    def now(self) -> int:
        """The database's time, carried forward on this host."""

    def known_builders(self) -> Mapping[str, int]:
        """Builder name -> id."""

    def get_state(self, key: str) -> str | None:
        """JSON text; None: not set."""

    def set_state(self, key: str, value_json: str) -> Deferred[None]:
        """Keep JSON text under a key."""

    def timers(self) -> Mapping[str, int]:
        """Timer key -> due time, as this turn sees it."""

    def set_timer(self, key: str, due: int | None) -> Deferred[None]:
        """Set, move or (None) cancel a timer."""

    def classify(self, classified: Mapping[int, bool]) -> Deferred[None]:
        """Remember changes as pending: number -> important."""

    def classifications(self) -> Mapping[int, bool]:
        """The pending changes."""

    def flush(self, numbers: Sequence[int]) -> Deferred[None]:
        """Forget pending changes."""

    def consume_changes(self, consider: Callable[[Change], bool | None]) -> Deferred[None]:
        """From now on, every change that ``consider`` does not answer None for becomes a cause."""

    def consume_buildsets(self, consider: Callable[[FinishedBuildset], bool]) -> Deferred[None]:
        """From now on, every completed buildset that ``consider`` answers True for becomes a cause."""

    def changes(self, numbers: Sequence[int]) -> Deferred[list[Change]]:
        """These changes, in order."""

    def stamp(self, stamp_id: int) -> Deferred[StampFields]:
        """A sourcestamp by its id."""

    def stamps_of(self, buildset_id: int) -> Deferred[list[StampFields]]:
        """The sourcestamps of a buildset."""

    def add_buildset(self, request: BuildsetRequest) -> Deferred[tuple[int, dict[int, int]]]:
        """(buildset id, {builder id: task id})."""

    def results_of(self, buildsets: Sequence[int]) -> Deferred[dict[int, str]]:
        """{buildset id: result} of those of these that are complete."""

    def ticks_served(self, first: int, last: int) -> Deferred[list[int]]:
        """This scheduler's due times at ``first <= t <= last`` that have a buildset."""

    @property
    def stored(self) -> StoredSchedules:
        """What only the calendar needs."""

    @property
    def records(self) -> Records:
        """What only code written for Buildbot needs."""

    def cancel_tasks(self, tasks: Sequence[int], why: str) -> Deferred[None]:
        """End those of these tasks that have not come to rest as cancelled; commands that run are killed."""

    def cancel_buildset(self, buildset_id: int, why: str) -> Deferred[None]:
        """The same for all tasks of a buildset."""

    def tasks_older_than(self, change: int, builders: Sequence[str]) -> Deferred[list[UnfinishedTask]]:
        """The tasks of these builders that have not come to rest and build nothing as new as that change."""

    def unfinished_tasks_of(self, buildset_id: int) -> Deferred[list[UnfinishedTask]]:
        """The tasks of a buildset that have not come to rest."""

    def consume_failed_tasks(self, consider: Callable[[FailedTask], bool]) -> Deferred[None]:
        """From now on, each failed task of a buildset of which others have not come to rest, and for which ``consider``
        answers True, becomes a cause, at least once."""

    def add_change(self, fields: Mapping[str, Any], request_id: str) -> Deferred[None]:
        """A new change; ValueError if the fields make no sense. The same request id again is the same change."""

    def record_skips(self, skips: Sequence[Skip]) -> Deferred[None]:
        """Due times that were not served, with the reason."""

    def expect(self, what: str, answer: Deferred[Any]) -> Deferred[Any]:
        """The same answer: the open turn must not end before it is there, nor without anybody having heard of its failure."""

    def turn(self) -> AbstractAsyncContextManager[None]:
        """A turn of its own for background code: all effects inside commit together when the block ends, or none."""


class Away:
    """Stands in for the master while a scheduler is not active: whatever it is asked for raises NotActive."""

    def __init__(self, name: str) -> None:
        self._name = name

    def expect(self, what: str, answer: Deferred[Any]) -> Deferred[Any]:
        """There is no turn: the answer itself tells."""
        return answer

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        raise NotActive(f"scheduler {self._name!r} is not active here, so it cannot use master.{attribute}")


def away(name: str) -> MasterInterface:
    """What ``master`` is while the scheduler of that name is not active."""
    stand_in: Any = Away(name)
    found: MasterInterface = stand_in
    return found
