"""What such code's own ``trigger`` is asked with, and answers with: ``Properties``, and a pair of Deferreds."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from functools import wraps
from typing import Any

from twisted.internet.defer import Deferred

from ..hooks import begin
from .process.properties import Properties


class Triggered(tuple[Deferred[Any], Deferred[Any]]):
    """(Deferred of the ids, Deferred of (result, request ids)). To wait for it is to wait for the ids."""

    def __await__(self) -> Generator[Any, None, Any]:
        return self[0].__await__()


def asked_as_before(function: Callable[..., Any]) -> Callable[..., Any]:
    """A subclass's ``trigger``: its ``set_props`` are Properties, and it may answer with a pair of Deferreds."""

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
