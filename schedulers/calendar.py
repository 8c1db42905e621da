"""The calendar: the scheduler that serves stored schedules. It is there by default in every cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .base import Clustered, to_datetime
from .catchup import Skip, decide, skipped
from .grid import due_times
from .hooks import hook
from .interface import FinishedBuildset
from .overlap import MOST_AT_ONCE, REPLACED, next_step
from .stored import Cause, Execution, StoredSchedule, request_of

CALENDAR = "calendar"
"""The name under which it is there in every cluster, unless ``cluster.calendar`` says otherwise."""
DISABLED = "the calendar was disabled"
REMOVED = "the schedule was removed before it could start"


class Calendar(Clustered):
    """One execution for each nominal time of each stored schedule, or a recorded skip, as the schedule's policy says."""

    @hook
    async def activate(self) -> None:
        await super().activate()
        await self.master.consume_buildsets(lambda buildset: buildset.scheduler == self.name)
        await self.master.stored.consume()
        running = [e.id for e in self.master.stored.unfinished() if e.started]
        for execution, result in (await self.master.results_of(running)).items():  # it ended while this was disabled
            await self._ended(execution, result)

    # -- schedules that fall due ----------------------------------------------------------------------------------

    @hook
    async def gotSchedule(self, schedule: StoredSchedule) -> None:
        """One schedule is to be looked at: serve what came due since it was last examined."""
        stored = self.master.stored
        if schedule.paused:
            return  # an old failure was retried
        if schedule.fault:
            await stored.move(schedule, schedule.examined, None, f"it cannot be read: {schedule.fault}")
            return
        rule = schedule.rule.rule
        assert rule is not None, "a stored rule knows its time"
        examined = schedule.examined
        skips: list[Skip] = []
        enabled_at = self.master.enabled_at
        if enabled_at is not None and enabled_at > examined:
            while_disabled = skipped(rule, examined, enabled_at, DISABLED)
            skips += [while_disabled] if while_disabled is not None else []
            examined = enabled_at
        since = max(self.master.active_since, schedule.since)
        decision = decide(rule, schedule.policy, examined, self.master.now(), since, str(schedule.id))
        await stored.skip(schedule.id, [*skips, *decision.skips])
        for nominal in decision.serve:
            await self._fire(schedule, nominal, "due")
        await stored.move(schedule, decision.examined, decision.wake_at)

    async def _fire(self, schedule: StoredSchedule, nominal: int | None, cause: Cause) -> tuple[int | None, str]:
        """(the execution's id, '') or (None, why there is none)."""
        stored = self.master.stored
        before = stored.executions(schedule.id)
        waiting = [e for e in before if not e.started]
        step, why = "start", ""
        if cause != "run now":
            step, why = next_step(
                schedule.overlap, len(before) - len(waiting), len(waiting), in_line=cause == "backfill"
            )
        if step != "skip":
            why = self._unknown_builder(schedule)
        if why:
            if nominal is not None:
                await stored.skip(schedule.id, [Skip(nominal, nominal, 1, why)])
            return None, why
        if step == "replace":
            await self._stop(before)
        request = self._request(schedule, nominal, cause)
        return await stored.execute(schedule.id, nominal, cause, request if step == "start" else None), ""

    async def _stop(self, executions: Sequence[Execution]) -> None:
        for execution in executions:
            if execution.started:
                await self.master.cancel_buildset(execution.id, REPLACED)
            else:
                await self.master.stored.drop(execution.id, REPLACED)

    def _request(self, schedule: StoredSchedule, nominal: int | None, cause: Cause) -> Any:
        due_text = None if nominal is None else to_datetime(nominal).isoformat().replace("+00:00", "Z")
        return request_of(schedule, nominal, due_text, cause)

    def _unknown_builder(self, schedule: StoredSchedule) -> str:
        known = self.master.known_builders()
        unknown = [name for name in schedule.start.builders if name not in known]
        return f"unknown builder {unknown[0]!r}" if unknown else ""

    # -- executions that end --------------------------------------------------------------------------------------

    @hook
    async def gotBuildsetComplete(self, buildset: FinishedBuildset) -> None:
        await self._ended(buildset.id, buildset.result)

    async def _ended(self, execution_id: int, result: str) -> None:
        stored = self.master.stored
        execution = stored.execution(execution_id)
        if execution is None:
            return
        await stored.end(execution.id, result)
        others = stored.executions(execution.schedule_id)
        if not any(other.started for other in others):
            await self._start_waiting(execution.schedule_id, others)

    async def _start_waiting(self, schedule_id: int, waiting: Sequence[Execution]) -> None:
        """Start the oldest; those that cannot start any more are dropped."""
        if not waiting:
            return
        stored = self.master.stored
        found = await stored.find([schedule_id])
        why = self._unknown_builder(found[0]) if found else REMOVED
        for execution in waiting:
            if not why:
                request = self._request(found[0], execution.due_at, execution.cause)
                await stored.start(execution.id, request)
                return
            await stored.drop(execution.id, why)

    # -- what people ask for --------------------------------------------------------------------------------------

    @hook
    async def runNow(self, schedule: int) -> Mapping[str, Any]:
        """One execution now, whatever else runs; the grid does not move."""
        found = await self.master.stored.find([schedule])
        if not found or found[0].fault:
            return {"error": found[0].fault if found else f"there is no schedule {schedule} any more"}
        execution, why = await self._fire(found[0], None, "run now")
        return {"error": why} if why else {"execution": execution}

    @hook
    async def backfill(self, schedule: int, first: int, last: int) -> Mapping[str, Any]:
        """An execution for each nominal time at ``first <= t <= last`` that has none; the grid does not move.

        They run one after another, or all at once if the schedule's overlap is ``allow``.
        """
        found = await self.master.stored.find([schedule])
        if not found or found[0].fault:
            return {"error": found[0].fault if found else f"there is no schedule {schedule} any more"}
        rule = found[0].rule.rule
        assert rule is not None, "a stored rule knows its time"
        last = min(last, found[0].examined)  # what comes later is served when it is due
        times = due_times(rule, first - 1, last, MOST_AT_ONCE + 1)
        if len(times) > MOST_AT_ONCE:
            return {"error": f"that is more than {MOST_AT_ONCE} times; backfill a shorter time"}
        served = set(await self.master.stored.served(schedule, first, last))
        executions = []
        for nominal in times:
            if nominal not in served:
                execution, why = await self._fire(found[0], nominal, "backfill")
                if why:
                    return {"error": why}
                executions.append(execution)
        return {"executions": executions, "served_before": len(served)}
