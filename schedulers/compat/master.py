"""What a scheduler written for Buildbot finds in ``self.master``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred

from ..arguments import stamp_of_change
from ..changes import Change as NewChange
from ..interface import SchedulerFault, StampFields
from .absent import sentence
from .changes.changes import Change, as_known
from .master_data import Data
from .master_db import Databases
from .mq import Messages

_ELSEWHERE = (
    *("botmaster", "scheduler_manager", "workers", "www", "status", "config", "basedir", "secrets_manager"),
    *("service_manager", "allSchedulers", "addBuildset", "addChange", "namedServices", "metrics", "reconfig"),
)


class OldMaster:
    """The one small thing through which every scheduler knows its master, and beside it the names of Buildbot's."""

    def __init__(self, scheduler: Any, seat: Any) -> None:
        self._seat = seat
        self.db = Databases(scheduler, self)
        self.data = Data(scheduler, self)
        self.mq = Messages(scheduler, self)

    def __getattr__(self, name: str) -> Any:
        if name in _ELSEWHERE:
            raise AttributeError(sentence(f"master.{name}"))
        return getattr(self._seat, name)

    @property
    def reactor(self) -> Any:
        """For ``callLater``. What it calls is outside of any turn: each effect there is a turn of its own."""
        return self._seat.records.reactor

    @property
    def masterid(self) -> int:
        """Of no use but to be compared with itself: what holds things here is an incarnation."""
        return 1

    @property
    def name(self) -> str:
        """The same on every master: what is kept under it is found on each."""
        return "locum"

    # -- what every scheduler asks, with changes as such code knows them -------------------------------------------

    def changes(self, numbers: Sequence[int]) -> Deferred[list[Change]]:
        found: Deferred[list[NewChange]] = self._seat.changes(numbers)
        return found.addCallback(lambda changes: [as_known(change) for change in changes])

    def consume_changes(self, consider: Callable[[Change], bool | None]) -> Deferred[None]:
        answer: Deferred[None] = self._seat.consume_changes(lambda change: consider(as_known(change)))
        return answer

    def stamp(self, stamp_id: int) -> Deferred[StampFields]:
        """A source stamp by its id, or by the number that stands for a change's."""
        if stamp_id >= 0:
            found: Deferred[StampFields] = maybeDeferred(self._seat.stamp, stamp_id)
            return found

        def of(changes: list[Change]) -> StampFields:
            if not changes:
                raise SchedulerFault(f"there is no change {-stamp_id}, so it has no source stamp")
            return stamp_of_change(changes[0])

        return self.changes([-stamp_id]).addCallback(of)
