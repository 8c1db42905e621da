"""New changes and finished buildsets: read once for all schedulers of this master, kept in memory for a while.

Numbers are given in commit order, so whoever has seen number n has missed nothing before it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy.engine import Connection

from .surroundings import RemoteDatabase

KEEP = 20_000
READ_AT_ONCE = 1_000


class Numbered(Protocol):
    """Anything with a number in commit order."""

    @property
    def number(self) -> int:
        """Its place in the order of commits."""

    @property
    def fault(self) -> str:
        """Why it could not be read in full; '' for almost all."""


Item = TypeVar("Item", bound=Numbered)


class Feed(Generic[Item]):
    """What came lately, in order. ``on_news()`` is called whenever there is more."""

    def __init__(
        self,
        remote: RemoteDatabase,
        read_after: Callable[[Connection, int, int], list[Any]],
        convert: Callable[[Any], Item],
        on_news: Callable[[], None],
    ) -> None:
        self._remote = remote
        self._read_after = read_after
        self._convert = convert
        self._on_news = on_news
        self._items: list[Item] = []
        self._numbers: list[int] = []
        self._known: dict[int, Item] = {}
        self._floor: int | None = None
        """everything with a higher number, up to ``newest``, is in memory"""
        self.newest = 0
        self.wanted = False
        self.ask: Callable[[], None] = lambda: None
        """have it read soon"""

    def begin(self, number: int) -> None:
        """Start after ``number``, unless it has started already."""
        if self._floor is None:
            self._floor = self.newest = number

    async def read(self) -> None:
        """Read what is new. Does nothing until ``begin``, or while nobody wants it."""
        while self._floor is not None and self.wanted:
            rows = await self._remote.single(self._read_after, self.newest, READ_AT_ONCE)
            if rows:
                self._append([self._convert(row) for row in rows])
                self._on_news()
            if len(rows) < READ_AT_ONCE:
                return

    async def read_from(self, number: int) -> list[Item]:
        """The next ones after ``number``, for someone who lags behind what is in memory."""
        rows = await self._remote.single(self._read_after, number, READ_AT_ONCE)
        items = [self._convert(row) for row in rows]
        self._know(items)
        return items

    def reaches(self, number: int) -> bool:
        """Whether everything after ``number`` that has been read is still in memory."""
        return self._floor is not None and number >= self._floor

    def after(self, number: int) -> Item | None:
        """The next one after ``number``, if it is in memory."""
        index = bisect_right(self._numbers, number)
        return self._items[index] if index < len(self._items) else None

    def find(self, numbers: Sequence[int]) -> list[Item] | None:
        """Those of these numbers, in order; None if one is not in memory."""
        known = self._known
        return [known[number] for number in numbers] if all(number in known for number in numbers) else None

    def _know(self, items: list[Item]) -> None:
        for item in items:
            self._known[item.number] = item
        while len(self._known) > 2 * KEEP:
            del self._known[next(iter(self._known))]

    def _append(self, items: list[Item]) -> None:
        self._know(items)
        self._items += items
        self._numbers += [item.number for item in items]
        self.newest = self._numbers[-1]
        if len(self._items) > KEEP + READ_AT_ONCE:
            gone = len(self._items) - KEEP
            self._floor = self._numbers[gone - 1]
            del self._items[:gone]
            del self._numbers[:gone]
