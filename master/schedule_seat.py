"""What the calendar sees of its master beyond what every scheduler does: ``master.stored`` of schedulers/stored.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, succeed

from ..db import schedules
from ..db.effects import Effects
from ..db.schedule_effects import CalendarEffects, ExecutionMove, NewExecution, ScheduleMove, ScheduleSkip
from ..schedulers.catchup import Skip
from ..schedulers.hooks import begin
from ..schedulers.interface import BuildsetRequest
from ..schedulers.stored import Cause, Execution, StoredSchedule
from .reading import schedule_of
from .stored_schedules import StoredSchedules

if TYPE_CHECKING:
    from .tenure import Tenure


class ScheduleSeat:
    """``there()`` gives the tenure, or raises NotActive; ``effect`` joins the open turn, or is one of its own."""

    def __init__(
        self,
        there: Callable[[], Tenure],
        effect: Callable[[Callable[[Effects], object]], Deferred[None]],
        add_buildset: Callable[[BuildsetRequest, int], Deferred[tuple[int, dict[int, int]]]],
    ) -> None:
        self._there = there
        self._effect = effect
        self._add_buildset = add_buildset

    def consume(self) -> Deferred[None]:
        tenure = self._there()
        if tenure.stored is None:
            tools = tenure.tools
            tenure.stored = StoredSchedules(tools.remote, tools.clock, tools.alarms, tenure.pump)
        return begin(tenure.stored.consume())

    # -- questions --------------------------------------------------------------------------------------------------

    def executions(self, schedule_id: int) -> Sequence[Execution]:
        tenure = self._there()
        if tenure.stored is None:
            return []
        open_effects = None if tenure.open is None else tenure.open.effects.calendar
        return tenure.stored.executions.seen_with(open_effects, schedule_id)

    def execution(self, execution_id: int) -> Execution | None:
        stored = self._there().stored
        return None if stored is None else stored.executions.get(execution_id)

    def unfinished(self) -> Sequence[Execution]:
        stored = self._there().stored
        return [] if stored is None else stored.executions.all()

    def find(self, ids: Iterable[int]) -> Deferred[list[StoredSchedule]]:
        return (
            self._there()
            .tools.remote.single(schedules.these, list(ids))
            .addCallback(lambda rows: [schedule_of(row) for row in rows])
        )

    def served(self, schedule_id: int, first: int, last: int) -> Deferred[list[int]]:
        return self._there().tools.remote.single(schedules.served, schedule_id, first, last)

    # -- effects ----------------------------------------------------------------------------------------------------

    def move(
        self, schedule: StoredSchedule, examined: int, next_due: int | None, paused_why: str | None = None
    ) -> Deferred[None]:
        ended = next_due is None and paused_why is None
        move = ScheduleMove(schedule.version, schedule.examined, examined, next_due, ended, paused_why)
        return self._calendar(lambda calendar: calendar.move(schedule.id, move))

    def skip(self, schedule_id: int, skips: Sequence[Skip]) -> Deferred[None]:
        rows = [ScheduleSkip(schedule_id, s.first, s.last, s.count, s.reason) for s in skips]
        return self._calendar(lambda calendar: calendar.skips.extend(rows))

    def execute(
        self, schedule_id: int, due_at: int | None, cause: Cause, request: BuildsetRequest | None
    ) -> Deferred[int]:
        async def add() -> int:
            execution_id = await self._new_id()
            new = NewExecution(execution_id, schedule_id, due_at, cause, request is not None)
            await self._calendar(lambda calendar: calendar.new.append(new))
            if request is not None:
                await self._add_buildset(request, execution_id)
            return execution_id

        return begin(add())

    def start(self, execution_id: int, request: BuildsetRequest) -> Deferred[None]:
        async def go() -> None:
            await self._become(execution_id, ExecutionMove("started"))
            await self._add_buildset(request, execution_id)

        return begin(go())

    def end(self, execution_id: int, result: str) -> Deferred[None]:
        return self._become(execution_id, ExecutionMove("finished", result))

    def drop(self, execution_id: int, why: str) -> Deferred[None]:
        return self._become(execution_id, ExecutionMove("dropped", why=why))

    # -- how --------------------------------------------------------------------------------------------------------

    def _become(self, execution_id: int, move: ExecutionMove) -> Deferred[None]:
        return self._calendar(lambda calendar: calendar.executions.__setitem__(execution_id, move))

    def _calendar(self, apply: Callable[[CalendarEffects], object]) -> Deferred[None]:
        def join(effects: Effects) -> None:
            if effects.calendar is None:
                effects.calendar = CalendarEffects()
            apply(effects.calendar)

        return self._effect(join)

    def _new_id(self) -> Deferred[int]:
        ids = self._there().tools.buildset_ids
        taken = ids.take(1)
        if taken is not None:
            return succeed(taken[0])
        return ids.refill(1).addCallback(lambda _: self._new_id())
