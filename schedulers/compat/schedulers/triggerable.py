"""``Triggerable``, whose ``trigger`` answers as such code expects: with the ids, and with the outcome."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from functools import wraps
from typing import Any

from twisted.internet.defer import Deferred

from ... import triggerable as new
from ...hooks import answered, begin, hook
from ...interface import FinishedBuildset
from ..absent import absent
from ..process.properties import Properties, with_sources
from ..process.results import number_of
from . import base

__all__ = ["Triggerable"]


class Triggered(tuple[Deferred[Any], Deferred[Any]]):
    """(Deferred of the ids, Deferred of (result, request ids)). To wait for it is to wait for the ids."""

    def __await__(self) -> Generator[Any, None, Any]:
        return self[0].__await__()


def _asked_as_before(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def trigger(
        self: Any, waited_for: Any, sourcestamps: Any = None, set_props: Any = None, *rest: Any, **kw: Any
    ) -> Any:
        if set_props is not None and not isinstance(set_props, Properties):
            set_props = Properties.fromDict(set_props, "Trigger")
        if kw.get("priority", 0) is None:
            del kw["priority"]  # Buildbot's older ones have no such argument
        answer = function(self, waited_for, sourcestamps, set_props, *rest, **kw)
        if isinstance(answer, tuple) and not isinstance(answer, Triggered):
            return Triggered(answer) if len(answer) == 2 and isinstance(answer[0], Deferred) else answer
        if isinstance(answer, Deferred) or inspect.isawaitable(answer):
            return answer if isinstance(answer, Triggered) else begin(_ids_of(answer))
        return answer

    return trigger


async def _ids_of(answer: Any) -> Any:
    found = await answer
    return await found[0] if isinstance(found, tuple) and found and isinstance(found[0], Deferred) else found


class Triggers(base.BaseScheduler):
    """Makes ``trigger`` what subclasses have overridden: its ``set_props`` are Properties, its answer is a pair."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = cls.__dict__.get("trigger")
        if inspect.isfunction(own):
            cls.trigger = _asked_as_before(own)  # type: ignore[attr-defined]

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
