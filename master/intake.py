"""One scheduler's place in a feed: what it has been offered, and what the database will say of that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic

from twisted.internet.defer import Deferred

from .feed import Feed, Item


class Intake(Generic[Item]):
    """Goes through a feed from a scheduler's cursor on. What the scheduler does not want costs no turn.

    ``offered``: everything up to here has been answered, or was not for it; None: it does not consume (yet).
    ``saved``: what the database's cursor is once all that has been handed to the committer is committed.
    """

    def __init__(self, feed: Feed[Item], cursor: int | None, on_more: Callable[[], None]) -> None:
        self._feed = feed
        self._on_more = on_more
        self.saved = cursor
        self.offered: int | None = None
        self._consider: Callable[[Item], Any] | None = None
        self._backlog: list[Item] = []
        self._reading = False
        self.log_error: Callable[[str], None] = lambda text: None

    @property
    def consuming(self) -> bool:
        """Whether the scheduler has asked for it."""
        return self._consider is not None

    def consume(self, consider: Callable[[Item], Any]) -> bool:
        """Begin; ``consider`` answers None or False for what the scheduler does not want. True: it never did before."""
        self._consider = consider
        self._feed.wanted = True
        self._feed.ask()  # what came while nobody wanted it has not been read
        if self.offered is None:
            self.offered = self.saved
        return self.saved is None

    def stop(self) -> None:
        """Offer nothing more to the present instance."""
        self._consider = None

    def began(self, number: int | None) -> None:
        """The turn that began it is committed, and this is the cursor that it got."""
        if self.saved is None and number is not None:
            self.saved = self.offered = number

    def next(self) -> tuple[Item, Any, BaseException | None] | None:
        """(item, what ``consider`` answered, what it raised) of the next wanted one; None: nothing now."""
        while self._consider is not None and self.offered is not None:
            item = self._peek(self.offered)
            if item is None:
                return None
            if item.fault:  # whether it is wanted cannot be known, so it is a turn that fails, and is set aside at last
                return item, False, None
            try:
                wanted = self._consider(item)
            except BaseException as error:  # user code: it fails the turn, never us
                return item, False, error
            if self._is_wanted(wanted):
                return item, wanted, None
            self.offered = item.number
        return None

    _false_is_wanted = False

    def _is_wanted(self, answer: Any) -> bool:
        return answer is not None and (answer is not False or self._false_is_wanted)

    def would_offer(self, item: Item) -> bool:
        """Whether ``item`` would become a cause if it came now."""
        try:
            return self._consider is not None and self._is_wanted(self._consider(item))
        except BaseException:
            return True

    @property
    def caught_up_to(self) -> float:
        """Everything up to here has been offered; infinite for one that does not consume."""
        if self._consider is None or self.offered is None:
            return float("inf")
        return self.offered

    def progress(self) -> tuple[int, int] | None:
        """(from, to) for the database's cursor if it lags behind; it is then taken as handed to the committer."""
        if self.saved is None or self.offered is None or self.offered <= self.saved:
            return None
        moved = (self.saved, self.offered)
        self.saved = self.offered
        return moved

    def _peek(self, after: int) -> Item | None:
        while self._backlog and self._backlog[0].number <= after:
            self._backlog.pop(0)
        if self._backlog:
            return self._backlog[0]
        if self._feed.reaches(after):
            return self._feed.after(after)
        if not self._reading:
            self._reading = True
            Deferred.fromCoroutine(self._read(after))
        return None

    async def _read(self, after: int) -> None:
        newest = self._feed.newest
        try:
            self._backlog = await self._feed.read_from(after)
        except Exception as error:  # the database may be away: the next pump asks again
            self.log_error(f"reading what came after {after} failed: {error}")
            return
        finally:
            self._reading = False
        if self._backlog:
            self._on_more()
        elif self.offered == after and newest > after:
            # Numbers up to there are committed, and none is left: pruned, or passed over by a recovered database.
            self.offered = newest
            self._on_more()


class ChangeIntake(Intake[Item]):
    """Of changes: an unimportant one (False) is wanted too, only None is not."""

    _false_is_wanted = True
