"""What a scheduler reacts to: each cause knows how to call the scheduler, and what it means that it has been answered."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..db.effects import Effects
from ..db.schedule_effects import CalendarEffects, ScheduleMove
from ..db.stored import Unreadable
from ..schedulers.base import to_datetime
from ..schedulers.changes import Change
from ..schedulers.hooks import answered
from ..schedulers.interface import FailedTask, FinishedBuildset, SchedulerFault
from ..schedulers.stored import StoredSchedule

RETRY_AFTER_S = (1.0, 5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0)
"""Pauses before a failed cause is tried again; after the last one it is set aside."""


@dataclass(frozen=True, slots=True)
class Activation:
    """The first turn of a term, and of every fresh instance."""

    id = "activate"
    stream = "activate"

    async def react(self, scheduler: Any) -> None:
        await answered(scheduler.activate())
        if not scheduler.active:
            kind = type(scheduler).__name__
            raise SchedulerFault(
                f"{kind}.activate never called BaseScheduler's; begin it with 'await super().activate()', or define"
                " startActivity instead, which needs no such call"
            )

    def answered(self, effects: Effects) -> None:
        pass

    def detail(self) -> Mapping[str, Any]:
        return {}


@dataclass(frozen=True, slots=True)
class ChangeCame:
    """A change; ``error``: what considering it raised."""

    change: Change
    important: bool
    error: BaseException | None = None
    stream = "change"

    @property
    def id(self) -> str:
        return f"change:{self.change.number}"

    def react(self, scheduler: Any) -> Any:
        if self.error is not None:
            raise self.error
        if self.change.fault:
            raise Unreadable(self.change.fault)
        return scheduler.gotChange(self.change, self.important)

    def answered(self, effects: Effects) -> None:
        pass  # the intake's cursor says it

    def detail(self) -> Mapping[str, Any]:
        return {"change": self.change.number}


@dataclass(frozen=True, slots=True)
class BuildsetFinished:
    """A completed buildset."""

    buildset: FinishedBuildset
    error: BaseException | None = None
    stream = "finished"

    @property
    def id(self) -> str:
        return f"finished:{self.buildset.number}"

    def react(self, scheduler: Any) -> Any:
        if self.error is not None:
            raise self.error
        if self.buildset.fault:
            raise Unreadable(self.buildset.fault)
        return scheduler.gotBuildsetComplete(self.buildset)

    def answered(self, effects: Effects) -> None:
        pass  # the intake's cursor says it

    def detail(self) -> Mapping[str, Any]:
        return {"finished": self.buildset.number, "buildset": self.buildset.id}


@dataclass(frozen=True, slots=True)
class TaskFailed:
    """A task that failed while others of its buildset have not come to rest."""

    task: FailedTask

    @property
    def id(self) -> str:
        return f"failed-task:{self.task.id}"

    @property
    def stream(self) -> str:
        return self.id

    def react(self, scheduler: Any) -> Any:
        return scheduler.gotTaskFailed(self.task)

    def answered(self, effects: Effects) -> None:
        pass  # it comes again as long as there is something to cancel, which does no harm

    def detail(self) -> Mapping[str, Any]:
        return {"failed_task": self.task.id}


@dataclass(slots=True)
class TimerFired:
    """A timer that fell due."""

    key: str
    due: int

    @property
    def id(self) -> str:
        return f"timer:{self.key}"

    @property
    def stream(self) -> str:
        return f"timer:{self.key}"

    def react(self, scheduler: Any) -> Any:
        return scheduler.gotTimer(self.key, to_datetime(self.due))

    def answered(self, effects: Effects) -> None:
        effects.fired[self.key] = self.due
        effects.timers.setdefault(self.key, None)

    def detail(self) -> Mapping[str, Any]:
        return {"timer": self.key, "due": self.due}


@dataclass(frozen=True, slots=True)
class ScheduleDue:
    """A stored schedule is to be looked at by the calendar."""

    schedule: StoredSchedule

    @property
    def id(self) -> str:
        return f"schedule:{self.schedule.id}"

    @property
    def stream(self) -> str:
        return self.id

    def react(self, scheduler: Any) -> Any:
        return scheduler.gotSchedule(self.schedule)

    def answered(self, effects: Effects) -> None:
        if effects.calendar is None:
            effects.calendar = CalendarEffects()
        if self.schedule.id not in effects.calendar.schedules:  # it is set aside: else it would be due for ever
            s = self.schedule
            why = "serving it failed again and again; see 'locum scheduler failures', then resume it"
            effects.calendar.move(s.id, ScheduleMove(s.version, s.examined, s.examined, None, False, why))

    def detail(self) -> Mapping[str, Any]:
        return {"schedule": self.schedule.id}


@dataclass(frozen=True, slots=True)
class MessageCame:
    """A durable request: ``serve(scheduler, body)`` gives its answer."""

    message: int
    serve: Callable[[Any], Any]
    answer: list[Any]

    @property
    def id(self) -> str:
        return f"message:{self.message}"

    stream = "message"

    async def react(self, scheduler: Any) -> None:
        self.answer[:] = [await self.serve(scheduler)]

    def answered(self, effects: Effects) -> None:
        effects.answers.append((self.message, json.dumps(self.answer[0] if self.answer else None)))

    def detail(self) -> Mapping[str, Any]:
        return {"message": self.message}


@dataclass(frozen=True, slots=True)
class TriedAgain:
    """A cause that had been set aside, tried again on a person's word; its own bookkeeping was done back then."""

    cause: Any
    stream = "again"

    @property
    def id(self) -> str:
        return str(self.cause.id)

    def react(self, scheduler: Any) -> Any:
        return self.cause.react(scheduler)

    def answered(self, effects: Effects) -> None:
        effects.failures[self.id] = None

    def detail(self) -> Mapping[str, Any]:
        return {**self.cause.detail(), "aside": True}


Cause = Activation | ChangeCame | BuildsetFinished | TaskFailed | TimerFired | ScheduleDue | MessageCame | TriedAgain
