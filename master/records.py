"""What code written for Buildbot asks of its master beyond what schedulers may: ``master.records`` of schedulers/records.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred

from ..db import changes, listings, records
from ..db.buildsets import StampRow
from ..schedulers.changes import Change
from ..schedulers.interface import StampFields
from ..schedulers.records import MOST, Buildset, Finished, Holder, News, Request
from .reading import change_of
from .surroundings import RemoteDatabase

if TYPE_CHECKING:
    from .tenure import Tenure

T = TypeVar("T")


class NewsReader:
    """Reads how far everything is: once for all who watch, and only while somebody does."""

    def __init__(self, remote: RemoteDatabase) -> None:
        self._remote = remote
        self._watching: list[tuple[Callable[[], bool], Callable[[News], None]]] = []

    @property
    def wanted(self) -> bool:
        """Whether somebody watches."""
        self._watching = [one for one in self._watching if one[0]()]
        return bool(self._watching)

    def watch(self, is_there: Callable[[], bool], offer: Callable[[News], None]) -> None:
        """Until ``is_there()`` says no."""
        self._watching.append((is_there, offer))

    async def read(self) -> None:
        """Tell all who watch."""
        if self.wanted:
            news = _news(await self._remote.read(records.how_far))
            for is_there, offer in list(self._watching):
                if is_there():
                    offer(news)


class SeatRecords:
    """One instance's. ``there()`` gives the tenure, or raises NotActive; ``asked`` is told what a turn waits for."""

    def __init__(
        self, tenure: Tenure, there: Callable[[], Tenure], asked: Callable[[Deferred[Any]], Deferred[Any]]
    ) -> None:
        self._tenure = tenure
        self._there = there
        self._asked = asked

    @property
    def reactor(self) -> Any:
        return self._tenure.tools.reactor

    @property
    def scheduler_id(self) -> int:
        return self._tenure.id

    @property
    def in_turn(self) -> bool:
        turn = self._tenure.open
        return turn is not None and turn.seat.records is self

    def changes(self, most: int = MOST) -> Deferred[list[Change]]:
        rows = self._ask(changes.newest, most)
        return rows.addCallback(lambda rows: [change_of(row) for row in rows[::-1]])

    def buildsets(self, ids: Sequence[int] | None = None, most: int = MOST) -> Deferred[list[Buildset]]:
        rows = self._ask(records.buildsets, ids, most)
        return rows.addCallback(lambda rows: [_buildset(row) for row in rows])

    def requests(
        self,
        ids: Sequence[int] | None = None,
        *,
        buildset: int | None = None,
        builder: int | None = None,
        most: int = MOST,
    ) -> Deferred[list[Request]]:
        rows = self._ask(records.tasks, ids, buildset, builder, most)
        return rows.addCallback(
            lambda rows: [Request(**{name: getattr(row, name) for name in row.__slots__}) for row in rows]
        )

    def schedulers(self) -> Deferred[list[Holder]]:
        lines = self._ask(listings.schedulers)
        return lines.addCallback(
            lambda lines: [
                Holder(one.id, one.name, one.enabled, one.master) for one in lines if one.kind == "scheduler"
            ]
        )

    def news(self) -> Deferred[News]:
        return self._ask(records.how_far).addCallback(_news)

    def finished_after(self, number: int, most: int = MOST) -> Deferred[list[Finished]]:
        rows = self._ask(records.finished_tasks, number, most)
        return rows.addCallback(lambda rows: [Finished(*row) for row in rows])

    def watch(self, offer: Callable[[News], None]) -> None:
        tools = self._there().tools
        tools.news.watch(self._is_there, offer)
        tools.changes.ask()  # the feeds are read soon, and with them the news

    def _is_there(self) -> bool:
        return self._tenure.seat.records is self and not self._tenure.over

    def _ask(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        answer: Deferred[T] = self._asked(self._there().tools.remote.read(function, *args))
        return answer


def _news(row: records.HowFar) -> News:
    return News(row.change, row.finished, row.open_tasks)


def _buildset(row: records.BuildsetRecord) -> Buildset:
    return Buildset(
        row.id,
        row.scheduler,
        row.reason,
        row.external_id,
        row.submitted_at,
        row.completed_at,
        row.result,
        row.parent,
        row.properties,
        {stamp.id: _fields(stamp) for stamp in row.stamps},
        row.changes,
    )


def _fields(row: StampRow) -> StampFields:
    return StampFields(row.codebase, row.repository, row.branch, row.revision, row.project, row.patch_json)
