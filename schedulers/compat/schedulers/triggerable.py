"""``Triggerable``, whose ``trigger`` answers as such code expects: with the ids, and with the outcome."""

from __future__ import annotations

import inspect
from typing import Any

from twisted.internet.defer import Deferred

from ... import triggerable as new
from ...hooks import answered, begin, hook
from ...interface import FinishedBuildset
from ..absent import absent
from ..process.properties import with_sources
from ..process.results import number_of
from ..triggered import Triggered
from . import base

__all__ = ["Triggerable"]


class Triggers(base.BaseScheduler):
    """Remembers whom it owes an outcome."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._outcomes: dict[int, tuple[Deferred[Any], dict[int, int]]] = {}


class Triggerable(Triggers, new.Triggerable):
    """The outcome's Deferred is this instance's alone: it never fires after a failover. The step's own waiting does."""

    def trigger(self, *args: Any, **kwargs: Any) -> Triggered:
        """``trigger(waited_for, sourcestamps=None, set_props=None, parent_buildid=None, parent_relationship=None)``."""
        outcome: Deferred[Any] = Deferred()

        async def ask() -> Any:
            bound = inspect.signature(new.Triggerable.trigger).bind(self, *args, **kwargs)
            given = {name: value for name, value in bound.arguments.items() if name != "self"}
            given["set_props"] = with_sources(given.get("set_props"))
            answer = await answered(new.Triggerable.trigger(self, **given))
            self._outcomes[answer[0]] = (outcome, answer[1])
            return answer

        return Triggered((begin(ask()), outcome))

    @hook
    async def activate(self) -> None:
        await super().activate()
        await self.startConsumingBuildsets(lambda buildset: buildset.id in self._outcomes)

    @hook
    async def gotBuildsetComplete(self, buildset: FinishedBuildset) -> None:
        outcome, tasks = self._outcomes.pop(buildset.id, (None, None))
        if outcome is not None:
            outcome.callback((number_of(buildset.result), tasks))


__getattr__ = absent(__name__)
