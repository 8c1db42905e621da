"""Ids of buildsets and tasks, reserved in blocks, so that asking for a buildset answers at once."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed

from ..db import turns
from .surroundings import RemoteDatabase

SMALLEST, LARGEST = 32, 10_000


class IdBlock:
    """Ids of one counter. Blocks grow while they are used up quickly, so that a quiet cluster's numbers stay close together."""

    def __init__(self, remote: RemoteDatabase, counter: str) -> None:
        self._remote = remote
        self._counter = counter
        self._free: list[range] = []
        self._left = 0
        self._size = SMALLEST
        self._asking: Deferred[None] | None = None

    def take(self, n: int) -> list[int] | None:
        """``n`` ids; None if there are not as many: then await ``refill(n)`` and ask again."""
        if self._left < n:
            return None
        ids: list[int] = []
        while len(ids) < n:
            block = self._free[0]
            used = block[: n - len(ids)]
            ids += used
            if len(used) == len(block):
                self._free.pop(0)
            else:
                self._free[0] = block[len(used) :]
        self._left -= n
        if self._left < self._size // 2 and self._asking is None:
            self._size = min(LARGEST, self._size * 4)
            self._ask(self._size).addErrback(lambda failure: None)  # the next refill() tells whoever waits
        return ids

    def expect(self, n: int) -> None:
        """So many may be wanted at once (all schedulers' ticks, say): keep them ready."""
        self._size = max(self._size, min(LARGEST, n))
        if self._left < self._size // 2 and self._asking is None:
            self._ask(self._size).addErrback(lambda failure: None)

    def refill(self, n: int) -> Deferred[None]:
        """Fires when more ids are there; fails as the database does."""
        if self._left >= n:
            return succeed(None)
        if self._asking is None:
            self._size = max(self._size, min(LARGEST, 2 * n))
            return self._ask(max(self._size, n))
        waiting: Deferred[None] = Deferred()

        def asked(answer: object) -> object:
            waiting.callback(None)
            return answer

        self._asking.addBoth(asked)
        return waiting.addCallback(lambda _: self.refill(n))

    def _ask(self, n: int) -> Deferred[None]:
        def came(block: range) -> None:
            self._free.append(block)
            self._left += len(block)

        def over(answer: object) -> object:
            self._asking = None
            return answer

        asking: Deferred[None] = self._remote.single(turns.reserve, self._counter, n).addCallback(came)
        self._asking = asking  # before addBoth: the answer may be there already
        return asking.addBoth(over)
