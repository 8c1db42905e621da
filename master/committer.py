"""Group commit: the turns of many schedulers in one transaction, one transaction at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import Connection
from twisted.internet.defer import Deferred, DeferredList, succeed

from ..db import turns
from ..db.effects import Effects, Stamp
from ..db.errors import DatabaseAway, OutcomeUnknown
from ..db.fail_points import reach
from .logs import Log
from .surroundings import RemoteDatabase

if TYPE_CHECKING:
    from .tenure import Tenure

AT_MOST = 1000
FULL = 1000
"""So many schedulers wait for a commit: no timer makes another turn, so that ten thousand due at once take no more memory."""
AT_ONCE = {"postgresql": 2, "sqlite": 1}
"""Transactions of one master at a time: while one waits for PostgreSQL, the next is made ready. SQLite has one writer."""
SQLITE_PAUSE_S = 0.004
KNOWN_STAMPS = 50_000


class Committer:
    """Writes what tenures hand over. ``may_act()`` False: the lease is no longer trusted, so nothing is sent.

    ``pause_s`` between groups lets others write, too; None: what the database needs. ``on_room()`` is told after each group.

    A group that the database refuses for its data is halved until the culprit is alone; one whose outcome is unknown
    ends the terms of all in it, and only of those.
    """

    log = Log()

    def __init__(
        self,
        reactor: Any,
        remote: RemoteDatabase,
        incarnation: str,
        may_act: Callable[[], bool],
        on_written: Callable[[set[str]], None],
        *,
        pause_s: float | None = None,
        on_room: Callable[[], None] = lambda: None,
    ) -> None:
        self._reactor = reactor
        self._remote = remote
        self._incarnation = incarnation
        self._may_act = may_act
        self._on_written = on_written
        self._on_room = on_room
        self._queue: dict[int, Tenure] = {}
        self._running = False
        self._under_way = 0
        self._stopped = False
        self._stamps: dict[str, None] = {}
        self._waiting: list[Deferred[None]] = []
        usual_s = SQLITE_PAUSE_S if remote.database.dialect == "sqlite" else 0.0
        self._pause_s = usual_s if pause_s is None else pause_s

    @property
    def waiting(self) -> int:
        """How many schedulers' turns are not committed yet."""
        return len(self._queue) + self._under_way

    def submit(self, tenure: Tenure) -> None:
        """``tenure`` has something pending."""
        self._queue[id(tenure)] = tenure
        self._kick(0.0)

    def stop(self) -> Deferred[None]:
        """Begin no further transaction; fires when none runs."""
        self._stopped = True
        self._queue.clear()
        if not self._running:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def _kick(self, seconds: float) -> None:
        if not self._running and not self._stopped:
            self._running = True
            self._reactor.callLater(seconds, self._run)

    def _run(self) -> None:
        Deferred.fromCoroutine(self._one_group()).addErrback(self._broken).addBoth(self._ran)

    def _broken(self, failure: Any) -> None:
        self.log.error("the committer failed: {trace}", trace=failure.getTraceback())

    def _ran(self, _: object) -> None:
        self._running = False
        self._under_way = 0
        if self._queue and not self._stopped:
            self._kick(self._pause_s)
        if self._stopped:
            waiting, self._waiting = self._waiting, []
            for deferred in waiting:
                deferred.callback(None)
        self._on_room()

    async def _one_group(self) -> None:
        group: list[tuple[Tenure, Effects]] = []
        size = 0
        schedulers: set[int] = set()
        for key, tenure in list(self._queue.items()):
            if tenure.id in schedulers:
                continue  # two terms of one scheduler must not be in one commit: what is refused is told by scheduler
            del self._queue[key]
            effects = tenure.take_pending()
            if effects is not None:
                schedulers.add(tenure.id)
                group.append((tenure, effects))
                size += max(1, effects.turns)
                if size >= AT_MOST:
                    break
        if not group:
            return
        if not self._may_act():
            self._fail(group, "the lease is not trusted any more")
            return
        self._under_way = len(group)
        await self._commit(group)

    async def _commit(self, group: Sequence[tuple[Tenure, Effects]]) -> None:
        try:
            answer = await self._write([effects for _, effects in group])
        except turns.CauseGone as error:
            stale = [pair for pair in group if pair[0].id in error.scheduler_ids]
            self._fail(stale, str(error))
            rest = [pair for pair in group if pair[0].id not in error.scheduler_ids]
            if rest:
                await self._commit(rest)
        except (DatabaseAway, OutcomeUnknown) as error:
            self._fail(group, str(error), unknown=isinstance(error, OutcomeUnknown))
        except Exception as error:  # BadData, or a value that does not even reach the database
            await self._bisect(group, error)
        else:
            self._tell(group, answer)

    async def _bisect(self, group: Sequence[tuple[Tenure, Effects]], error: Exception) -> None:
        if len(group) == 1:
            self.log.error("scheduler {name}: {error}", name=group[0][0].name, error=error)
            group[0][0].refused_data(error)
            return
        half = len(group) // 2
        await self._commit(group[:half])
        await self._commit(group[half:])

    async def _write(self, effects: Sequence[Effects]) -> turns.Committed:
        await self._ensure_stamps(effects)
        try:
            return await self._remote.write(turns.commit, self._incarnation, effects)
        except turns.StampsGone:
            self._stamps.clear()
            await self._ensure_stamps(effects)
            return await self._remote.write(turns.commit, self._incarnation, effects)

    async def _ensure_stamps(self, effects: Sequence[Effects]) -> None:
        new = {s.content: s for e in effects for b in e.buildsets for s in b.stamps if s.content not in self._stamps}
        if not new:
            return
        try:
            await self._remote.write(_add_stamps, list(new.values()))
        except OutcomeUnknown as error:  # harmless: the turns themselves have not been sent
            raise DatabaseAway(str(error)) from error
        self._stamps.update(dict.fromkeys(new))
        while len(self._stamps) > KNOWN_STAMPS:
            del self._stamps[next(iter(self._stamps))]

    def _tell(self, group: Sequence[tuple[Tenure, Effects]], answer: turns.Committed) -> None:
        reach("commit.told")
        topics: set[str] = set()
        for tenure, effects in group:
            if effects.scheduler_id in answer.refused:
                tenure.not_committed("its term is over: another master holds it, or it was disabled or moved")
                continue
            if effects.buildsets:
                topics.add("tasks")
            if effects.changes:
                topics.add("changes")
            if effects.answers:
                topics.add("answers")
            if effects.cancel_tasks or effects.cancel_buildsets:
                topics |= {"cancelled", "finished"}
            tenure.committed(answer)
        if topics:
            self._on_written(topics)

    def _fail(self, group: Sequence[tuple[Tenure, Effects]], why: str, *, unknown: bool = False) -> None:
        if group:
            what = "nobody knows whether it was committed" if unknown else "it was not committed"
            self.log.warn("{n} schedulers' turns: {what}: {why}", n=len(group), what=what, why=why)
        for tenure, _ in group:
            tenure.not_committed(why)


class Committers:
    """As many committers as the database takes at once; a scheduler's turns always go to the same, so in their order."""

    def __init__(self, parts: Sequence[Committer]) -> None:
        self._parts = parts

    def submit(self, tenure: Tenure) -> None:
        """``tenure`` has something pending."""
        self._parts[tenure.id % len(self._parts)].submit(tenure)

    def is_full(self) -> bool:
        """Whether as much waits as should."""
        return sum([part.waiting for part in self._parts]) >= FULL

    def stop(self) -> Deferred[Any]:
        """Begin no further transaction; fires when none runs."""
        return DeferredList([part.stop() for part in self._parts])


def _add_stamps(conn: Connection, stamps: list[Stamp]) -> None:
    turns.add_stamps(conn, stamps)
