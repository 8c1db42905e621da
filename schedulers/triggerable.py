"""Schedulers that another task's ``trigger`` step sets off: at once, or at the next time of a calendar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from .arguments import checked_properties, stamp_fields, with_source
from .base import BaseScheduler
from .basic import reason_argument
from .catchup import Skip
from .hooks import hook
from .interface import SchedulerFault
from .timed import CalendarTimed

NOTHING_HANDED_OVER = "nothing was triggered since the last time"
HANDED = "handed over"


class Triggerable(BaseScheduler):
    """Makes a buildset whenever it is triggered, from a task's step on any master."""

    compare_attrs: ClassVar[Sequence[str]] = ("reason",)

    def __init__(self, name: str, builderNames: Any, reason: str | None = None, **kwargs: Any) -> None:
        super().__init__(name, builderNames, **kwargs)
        self.reason = reason_argument(reason, self)

    @hook
    async def trigger(
        self,
        waited_for: bool,
        sourcestamps: Sequence[Mapping[str, Any]] | None = None,
        set_props: Mapping[str, Any] | None = None,
        parent_buildid: int | None = None,
        parent_relationship: str | None = None,
        priority: int | None = None,
    ) -> tuple[int, dict[int, int]]:
        """(buildset id, {builder id: task id}). ``set_props`` are stronger than the scheduler's own properties."""
        answer: tuple[int, dict[int, int]] = await self.addBuildsetForSourceStampsWithDefaults(
            reason=self.reason,
            sourcestamps=sourcestamps,
            waited_for=waited_for,
            properties=_from_trigger(set_props),
            priority=priority,
            parent_buildid=parent_buildid,
            parent_relationship=parent_relationship,
        )
        return answer


class NightlyTriggerable(CalendarTimed):
    """At Nightly's times: a buildset of what the last trigger since the previous time handed over; of nothing, none."""

    @hook
    async def trigger(
        self,
        waited_for: bool,
        sourcestamps: Sequence[Mapping[str, Any]] | None = None,
        set_props: Mapping[str, Any] | None = None,
        parent_buildid: int | None = None,
        parent_relationship: str | None = None,
        priority: int | None = None,
    ) -> None:
        """Keep this for the next due time, in place of what was handed over before."""
        codebases = [stamp_fields(stamp).codebase for stamp in sourcestamps or ()]
        if len(set(codebases)) != len(codebases):  # refused now, while somebody waits for the answer
            raise SchedulerFault(f"scheduler {self.name!r}: two source stamps for one codebase")
        await self.setState(
            HANDED,
            {
                "sourcestamps": [dict(stamp) for stamp in sourcestamps or ()],
                "properties": checked_properties(set_props),
                "waited_for": bool(waited_for),
                "parent_buildid": parent_buildid,
                "parent_relationship": parent_relationship,
                "priority": priority,
            },
        )

    @hook
    async def fire(self, nominal: int | None) -> None:
        handed = await self.getState(HANDED, None)
        if handed is None:
            if nominal is not None:
                await self.master.record_skips([Skip(nominal, nominal, 1, NOTHING_HANDED_OVER)])
            return
        await self.setState(HANDED, None)
        properties = _from_trigger(handed.pop("properties"))
        await self.addBuildsetForSourceStampsWithDefaults(
            reason=self.reason, properties=properties, due_at=nominal, **handed
        )


def _from_trigger(properties: Mapping[str, Any] | None) -> dict[str, tuple[Any, str]]:
    return {name: with_source(value, "Trigger") for name, value in (properties or {}).items()}
