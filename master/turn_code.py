"""The code of a turn: its first step, and how a failure of it is told."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure


def first_step(coroutine: Coroutine[Any, Any, Any]) -> tuple[bool, Any]:
    """(True, its answer) of one that never waits: most turns, so they cost no Deferred; else (False, what it waits for)."""
    try:
        return False, coroutine.send(None)
    except StopIteration as end:
        return True, None if isinstance(end.value, Deferred) else end.value


async def awaited(answer: Awaitable[Any]) -> Any:
    """Any awaitable as a coroutine."""
    return await answer


def failure_of(error: BaseException | None = None) -> Failure:
    """A Failure of ``error``, or of the exception that is being handled."""
    return Failure(error)  # type: ignore[no-untyped-call]


def kind_of(failure: Failure) -> str:
    """Its exception's name."""
    return "error" if failure.type is None else failure.type.__name__
