"""Brings what running tasks have to tell into the database: in order, many at once, until it is there.

While the database is away everything waits here; how much that can be is bounded by who puts it in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred

from ...db import tasks
from ...db.database import DatabaseError
from ...db.errors import BadData
from ...db.tasks import Record, Recorded
from ..logs import Log
from ..loop import Loop
from ..surroundings import RemoteDatabase, Surroundings

MOST_RECORDS = 500
MOST_TEXT = 2 * 2**20
RETRY_S = 1.0

_Waiting = tuple[Record, Deferred[bool]]


class Recorder:
    """``put`` gives a Deferred: True once the record is committed, False if the task is no longer ours.

    Records of a task that is not ours wait while this incarnation has been declared lost: the process may join again
    and its tasks move over (``rejoined``). ``stop()``: whatever still waits is given up with False.
    """

    log = Log()

    def __init__(
        self,
        remote: RemoteDatabase,
        incarnation: str,
        surroundings: Surroundings,
        completed: Callable[[Sequence[int]], object],
        failed: Callable[[], object] = lambda: None,
    ) -> None:
        self._remote = remote
        self._incarnation = incarnation
        self._completed = completed
        self._failed = failed
        self._queue: list[_Waiting] = []
        self._loop = Loop(surroundings.reactor, self._drain, RETRY_S, "recording tasks")
        self._away = False

    def start(self) -> None:
        """Begin to write."""
        self._loop.start()

    def stop(self) -> Deferred[None]:
        """Give up at once what is not written yet; the Deferred fires when nothing is under way any more."""
        stopped = self._loop.stop()
        given_up, self._queue = self._queue, []
        for _, done in given_up:
            done.callback(False)
        return stopped

    def rejoined(self, remote: RemoteDatabase, incarnation: str) -> None:
        """Write under the new incarnation of this process from now on."""
        self._remote, self._incarnation = remote, incarnation
        self._loop.soon()

    def put(self, record: Record) -> Deferred[bool]:
        """Write ``record`` after all that were put before it."""
        done: Deferred[bool] = Deferred()
        self._queue.append((record, done))
        self._loop.soon()
        return done

    async def _drain(self) -> None:
        while self._queue:
            batch = self._next_batch()
            if not await self._write(batch):
                return

    def _next_batch(self) -> list[_Waiting]:
        size, count = 0, 0
        for record, _ in self._queue[:MOST_RECORDS]:
            count += 1
            size += len(record.text) if isinstance(record, tasks.Chunk) else 100
            if size >= MOST_TEXT:
                break
        return self._queue[:count]

    async def _write(self, batch: list[_Waiting]) -> bool:
        """Whether to go on at once."""
        incarnation = self._incarnation
        try:
            recorded = await self._remote.write(tasks.record, incarnation, [record for record, _ in batch])
        except Exception as error:
            if isinstance(error, BadData) or not isinstance(error, DatabaseError):
                await self._one_by_one(batch, error)
                return True
            if not self._away:
                self.log.warn("tasks' output is held in memory: {error}", error=error)
            self._away = True
            return False
        if self._away:
            self.log.info("tasks' output is written again")
        self._away = False
        return self._settle(batch, recorded, incarnation)

    def _settle(self, batch: list[_Waiting], recorded: Recorded, incarnation: str) -> bool:
        in_doubt = incarnation != self._incarnation or not recorded.alive
        kept: list[tuple[Record, Deferred[bool], bool]] = []
        settled: list[tuple[Record, Deferred[bool], bool]] = []
        for record, done in batch:
            mine = (record.task, record.attempt) in recorded.mine
            (kept if in_doubt and not mine else settled).append((record, done, mine))
        if not self._queue:  # given up meanwhile
            return False
        self._queue[: len(batch)] = [(record, done) for record, done, _ in kept]
        for _, done, mine in settled:
            done.callback(mine)
        if recorded.completed:
            self._completed(recorded.completed)
        if recorded.failed:
            self._failed()
        return not kept or incarnation != self._incarnation

    async def _one_by_one(self, batch: list[_Waiting], error: Exception) -> None:
        """One record that the database refuses must not hold up the others."""
        if len(batch) > 1:
            half = len(batch) // 2
            await self._write(batch[:half])  # what of it is not done stays first in the queue
            return
        if not self._queue:  # given up meanwhile
            return
        record, done = batch[0]
        self.log.error(
            "the database refused a {kind} of task {task}: {error}",
            kind=type(record).__name__,
            task=record.task,
            error=error,
        )
        del self._queue[0]
        done.callback(True)
