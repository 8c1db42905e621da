"""The code of a turn: what is open while it runs, its first step, what it forgot, and how a failure of it is told."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Sequence
from dataclasses import dataclass, field
from inspect import isawaitable, iscoroutine, isgenerator
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ..db.effects import Effects
from ..schedulers.hooks import Heeded
from .causes import Cause

if TYPE_CHECKING:
    from .seat import Seat


class TurnTimeout(Exception):
    """A turn's code did not return within ``turn_timeout``."""


@dataclass(slots=True)
class OpenTurn:
    """A turn whose code runs. ``cause`` None: background code's own turn."""

    cause: Cause | None
    effects: Effects
    seat: Seat
    timeout: Any = None
    expected: list[tuple[str, Heeded[Any]]] = field(default_factory=list)
    """what it must not end without: (what was asked for, its answer)"""
    asking: int = 0
    """answers of the database that it waits for: their own bounds hold, and they do not count against its code"""


def first_step(coroutine: Coroutine[Any, Any, Any]) -> tuple[bool, Any]:
    """(True, its answer) of one that never waits: most turns, so they cost no Deferred; else (False, what it waits for)."""
    try:
        return False, coroutine.send(None)
    except StopIteration as end:
        return True, None if isinstance(end.value, Deferred) else end.value


async def awaited(answer: Awaitable[Any]) -> Any:
    """Any awaitable as a coroutine."""
    return await answer


def forgotten(value: Any, expected: Sequence[tuple[str, Heeded[Any]]]) -> str:
    """What a turn's code, which has returned ``value``, should have waited for; '' if nothing."""
    if type(value) in (list, tuple, set) or isgenerator(value):
        late = [] if isgenerator(value) else [one for one in value if isinstance(one, Deferred) or isawaitable(one)]
        for one in late:
            if iscoroutine(one):
                one.close()  # else Python complains that nobody awaited it
        if late:
            return f"its code returned a {type(value).__name__} of answers that nobody waits for; await each of them"
        if isgenerator(value):
            return "its code returned a generator, of which nothing runs; write 'async def' and 'await', or inlineCallbacks"
    for what, answer in expected:
        why = answer.disregarded()
        if why:
            return f"its code returned although {what} {why}; write 'await self.{what}(...)'"
    return ""


def overtime(seconds: float, others_wait: bool) -> str:
    """What is said of a turn that took longer than ``turn_timeout``; ``others_wait`` for its end."""
    why = f"the turn took longer than turn_timeout, {seconds:g} s"
    hint = "; 'async with self.turn()' waited for its end: a hook is a turn already, and must not wait for another"
    return why + hint if others_wait else why


def failure_of(error: BaseException | None = None) -> Failure:
    """A Failure of ``error``, or of the exception that is being handled."""
    return Failure(error)  # type: ignore[no-untyped-call]


def kind_of(failure: Failure) -> str:
    """Its exception's name."""
    return "error" if failure.type is None else failure.type.__name__
