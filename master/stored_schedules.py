"""The stored schedules that fall due soon, and all unfinished executions: what one tenure of the calendar has in memory.

Of a million schedules only those due within the next seconds are read, by an index, and read again when that time has
passed or somebody has changed one. What turns do to them is seen here at once, committed or not, as with everything of
a tenure; a reading that is older than that is known by its ``examined``, which only rises while a schedule's version stays.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

from twisted.internet.defer import Deferred

from ..db import schedules
from ..db.errors import DatabaseError
from ..db.schedule_effects import CalendarEffects, NewExecution, ScheduleMove
from ..db.schedules import ScheduleRow
from ..schedulers.stored import Cause, Execution, StoredSchedule
from .alarms import Alarms
from .clock import DatabaseClock
from .logs import Log
from .reading import execution_of, schedule_of
from .surroundings import RemoteDatabase

WINDOW_US = 10_000_000
AT_MOST = 2000
AGAIN_US = 2_000_000
COMMIT_US = 50_000


@dataclass(frozen=True, slots=True)
class _Ahead:
    """How far a turn has moved a schedule that the table may still have as it was, due at ``was_due``."""

    version: int
    examined: int
    was_due: int


class Executions:
    """The unfinished executions, by id and by schedule."""

    def __init__(self) -> None:
        self._by_id: dict[int, Execution] = {}
        self._by_schedule: dict[int, dict[int, Execution]] = {}

    def get(self, execution_id: int) -> Execution | None:
        """The one of that id; None: it is not unfinished."""
        return self._by_id.get(execution_id)

    def all(self) -> list[Execution]:
        """Every one of them."""
        return list(self._by_id.values())

    def of(self, schedule_id: int) -> list[Execution]:
        """Those of a schedule, oldest first."""
        return sorted(self._by_schedule.get(schedule_id, {}).values(), key=lambda e: e.id)

    def put(self, execution: Execution) -> None:
        """It is unfinished."""
        self._by_id[execution.id] = execution
        self._by_schedule.setdefault(execution.schedule_id, {})[execution.id] = execution

    def apply(self, effects: CalendarEffects) -> None:
        """These effects are done."""
        for new in effects.new:
            self.put(_execution(new))
        for execution_id, move in effects.executions.items():
            known = self._by_id.get(execution_id)
            if known is None:
                continue
            if move.state == "started":
                self.put(replace(known, started=True))
                continue
            del self._by_id[execution_id]
            others = self._by_schedule[known.schedule_id]
            del others[execution_id]
            if not others:
                del self._by_schedule[known.schedule_id]

    def seen_with(self, effects: CalendarEffects | None, schedule_id: int) -> list[Execution]:
        """Those of a schedule as a turn with these effects sees them, oldest first."""
        if effects is None:
            return self.of(schedule_id)
        seen = Executions()
        for execution in self.of(schedule_id):
            seen.put(execution)
        seen.apply(effects)
        return seen.of(schedule_id)


def _execution(new: NewExecution) -> Execution:
    return Execution(new.id, new.schedule_id, new.due_at, cast("Cause", new.cause), new.started)


class StoredSchedules:
    """Offers one schedule after another to the calendar. ``on_due()``: there may be something to offer."""

    log = Log()

    def __init__(
        self, remote: RemoteDatabase, clock: DatabaseClock, alarms: Alarms, on_due: Callable[[], None]
    ) -> None:
        self._remote = remote
        self._clock = clock
        self._alarms = alarms
        self._on_due = on_due
        self.executions = Executions()
        self._loaded = False
        self._offering = False
        self._offered: StoredSchedule | None = None
        self._known: dict[int, StoredSchedule] = {}
        self._ahead: dict[int, _Ahead] = {}
        self._heap: list[tuple[int, int]] = []
        self._covered = 0
        """everything that is due up to here has been read"""
        self._reading = False
        self._changed = False
        self._armed: int | None = None

    # -- from outside -----------------------------------------------------------------------------------------------

    async def consume(self) -> None:
        """Begin to offer; the executions are read first, once in a term."""
        if not self._loaded:
            for row in await self._remote.single(schedules.unfinished):
                self.executions.put(execution_of(row))
            self._loaded = True
        self._offering = True
        self.look()

    def stop(self) -> None:
        """Offer nothing more to the present instance."""
        self._offering = False
        self._offered = self._armed = None

    def look(self) -> None:
        """Some have been added, changed or removed, or the time that was read has passed."""
        self._changed = True
        if self._offering and not self._reading:
            self._reading = True
            Deferred.fromCoroutine(self._read())

    def timer_due(self, key: str, due: int) -> None:
        """The alarm has gone off."""
        if due == self._armed and self._offering:
            self._armed = None
            self._on_due()
            self._arm()

    def next(self, is_blocked: Callable[[str], bool]) -> StoredSchedule | None:
        """The next one to look at; None: none is due now."""
        if not self._offering:
            return None
        now = self._clock.now()
        passed_over = []
        found = None
        while self._heap and self._heap[0][0] <= now and found is None:
            due, schedule_id = heapq.heappop(self._heap)
            known = self._known.get(schedule_id)
            if known is None or known.next_due != due:
                continue  # it was moved or removed since
            if is_blocked(f"schedule:{schedule_id}"):
                passed_over.append((due, schedule_id))
            else:
                found = self._known.pop(schedule_id)
        for entry in passed_over:
            heapq.heappush(self._heap, entry)
        self._offered = found or self._offered
        if found is None:
            if self._covered <= now:
                self.look()
            else:
                self._arm()
        return found

    def apply(self, effects: CalendarEffects) -> None:
        """A turn has ended with these effects: from now on they are how things are."""
        for schedule_id, move in effects.schedules.items():
            self._moved(schedule_id, move)
        self.executions.apply(effects)

    # -- how --------------------------------------------------------------------------------------------------------

    def _moved(self, schedule_id: int, move: ScheduleMove) -> None:
        base = self._offered
        if base is None or base.id != schedule_id:
            return
        newer = self._known.get(schedule_id)
        if newer is not None and newer.version != move.version:
            return  # somebody has changed it meanwhile, and it has been read; this turn will not be committed
        self._known.pop(schedule_id, None)
        earlier = self._ahead.get(schedule_id)
        was_due = earlier.was_due if earlier and earlier.version == move.version else base.next_due or 0
        self._ahead[schedule_id] = _Ahead(move.version, move.examined, was_due)
        if move.next_due is not None and move.next_due <= self._covered:
            self._put(replace(base, examined=move.examined, next_due=move.next_due))

    def _put(self, schedule: StoredSchedule) -> None:
        assert schedule.next_due is not None, "only those that are due at some time are read"
        self._known[schedule.id] = schedule
        heapq.heappush(self._heap, (schedule.next_due, schedule.id))

    async def _read(self) -> None:
        try:
            while self._changed and self._offering:
                self._changed = False
                until = self._clock.now() + WINDOW_US
                rows = await self._remote.single(schedules.due, until, AT_MOST)
                self._adopt(rows, until)
        except DatabaseError as error:
            self.log.warn("stored schedules could not be read: {error}", error=error)
            self._covered = self._clock.now() + AGAIN_US
        finally:
            self._reading = False
        if self._offering:
            self._on_due()
            self._arm()

    def _adopt(self, rows: list[ScheduleRow], until: int) -> None:
        covered = until if len(rows) < AT_MOST else rows[-1].next_due or until
        old, self._known, self._heap = self._known, {}, []
        there = set()
        for row in rows:
            there.add(row.id)
            ahead = self._ahead.get(row.id)
            if ahead is None or ahead.version != row.version or ahead.examined <= row.examined:
                self._ahead.pop(row.id, None)
                self._put(schedule_of(row))
            elif row.id in old:  # the table does not have yet what a turn has done
                self._put(old[row.id])
        for schedule_id, ahead in list(self._ahead.items()):
            if schedule_id not in there and ahead.was_due <= covered:
                del self._ahead[schedule_id]  # the table has it now, as due later, or not at all
        # Where turns that are not committed yet have dealt with all of them, the others show up after the commit.
        self._covered = covered if self._heap else max(covered, self._clock.now() + COMMIT_US)

    def _arm(self) -> None:
        """Ring when the next one falls due. What is due already is asked for when the present turn ends."""
        now = self._clock.now()
        due = min((due for due, _ in self._heap if due > now), default=self._covered)
        due = min(due, self._covered)
        if due > now and (self._armed is None or due < self._armed):
            self._armed = due
            self._alarms.set(self, "schedules", due)
