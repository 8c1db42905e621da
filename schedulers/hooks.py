"""Hooks: what a master calls on a scheduler. Each may be plain, ``async def``, or give a Deferred (inlineCallbacks)."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial, wraps
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

P = ParamSpec("P")
T = TypeVar("T")

_PLAIN = frozenset({dict, list, tuple, str, int, bool})

HOOKS: Mapping[str, tuple[str, ...]] = {
    "activate": (),
    "deactivate": (),
    "startActivity": (),
    "stopActivity": (),
    "startService": (),
    "stopService": (),
    "gotChange": ("change", "important"),
    "gotTimer": ("key", "due"),
    "gotBuildsetComplete": ("buildset",),
    "gotTaskFailed": ("failed",),
    "gotSchedule": ("schedule",),
    "getCodebaseDict": ("codebase",),
}
"""name -> the arguments that it is called with."""


def hook(function: Callable[P, Coroutine[Any, Any, Any]]) -> Callable[P, Any]:
    """An ``async def`` whose call gives a Deferred: begun at once, and fit for ``await``, for ``yield`` and for callbacks.

    So a subclass may call ``super().activate()`` from whatever kind of hook it has.
    """

    @wraps(function)
    def begun(*args: P.args, **kwargs: P.kwargs) -> Deferred[Any]:
        return begin(function(*args, **kwargs))

    return begun


def begin(coroutine: Coroutine[Any, Any, T]) -> Deferred[T]:
    """Run ``coroutine`` up to where it first waits; what is left, if anything, goes on when that has come.

    The same as ``Deferred.fromCoroutine``, without its price for code that never waits (most turns do not).
    """
    try:
        waits_for = coroutine.send(None)
    except StopIteration as end:
        return succeed(end.value)
    except BaseException:  # fromCoroutine hands on whatever it is, and so do we
        return fail()
    return Deferred.fromCoroutine(_rest(coroutine, waits_for))


async def _rest(coroutine: Coroutine[Any, Any, T], waits_for: Any) -> T:
    return await rest_of(coroutine, waits_for, nullcontext)


@types.coroutine
def rest_of(
    coroutine: Coroutine[Any, Any, T], waits_for: Any, around: Callable[[], AbstractContextManager[Any]]
) -> Generator[Any, Any, T]:
    """What is left of a coroutine that waits for ``waits_for``; each piece of it runs inside ``around()``."""
    while True:
        step: Callable[[], Any]
        try:
            step = partial(coroutine.send, (yield waits_for))
        except GeneratorExit:
            coroutine.close()
            raise
        except BaseException as error:  # goes to the code that awaited, as it would without us
            step = partial(coroutine.throw, error)
        try:
            with around():
                waits_for = step()
        except StopIteration as end:
            answer: T = end.value
            return answer


def has_answered(deferred: Deferred[Any]) -> bool:
    """Whether its answer is there and is no failure: then nobody has to wait for it."""
    return deferred.called and not deferred.paused and not isinstance(deferred.result, (Failure, Deferred))


class Heeded(Deferred[T]):
    """An answer that somebody must wait for, and that knows whether anybody does."""

    heeded = False

    def __iter__(self) -> Generator[Deferred[T], None, T]:
        self.heeded = True
        return super().__iter__()

    __await__ = __iter__

    def addCallbacks(self, *args: Any, **kwargs: Any) -> Deferred[Any]:
        self.heeded = True
        return super().addCallbacks(*args, **kwargs)

    def addCallback(self, *args: Any, **kwargs: Any) -> Deferred[Any]:
        self.heeded = True
        return super().addCallback(*args, **kwargs)

    def addErrback(self, *args: Any, **kwargs: Any) -> Deferred[Any]:
        self.heeded = True
        return super().addErrback(*args, **kwargs)

    def addBoth(self, *args: Any, **kwargs: Any) -> Deferred[Any]:
        self.heeded = True
        return super().addBoth(*args, **kwargs)

    def disregarded(self) -> str:
        """Why a turn cannot end with this answer: '' if it can."""
        if not self.called:
            return "has not ended yet"
        if self.heeded or not isinstance(self.result, Failure):
            return ""
        error = self.result.getErrorMessage()
        super().addErrback(lambda failure: None)  # told here, so nobody else need complain
        return f"failed ({error})"


async def answered(value: Any) -> Any:
    """The answer of user code that may give a value, an awaitable or a Deferred."""
    if value is None or type(value) in _PLAIN:  # most answers, and asking whether a value is awaitable is slow
        return value
    return await value if isinstance(value, Deferred) or inspect.isawaitable(value) else value


@cache
def hook_fault(cls: type) -> str | None:
    """Which hook of ``cls`` cannot be called as masters call it; None: all can."""
    for name, arguments in HOOKS.items():
        function = getattr(cls, name, None)
        if function is None:
            continue
        wanted = f"def {name}({', '.join(('self', *arguments))})"
        if not callable(function):
            return f"{cls.__name__}.{name} is {function!r}, not a method; it is called as '{wanted}'"
        if inspect.isgeneratorfunction(inspect.unwrap(function)) and inspect.unwrap(function) is function:
            return f"{cls.__name__}.{name} is a generator, so calling it does nothing; write 'async {wanted}'"
        if inspect.isasyncgenfunction(inspect.unwrap(function)):
            return f"{cls.__name__}.{name} has a 'yield', so nothing can await it; write 'await' in its place"
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):  # something that Python cannot look into
            continue
        try:
            signature.bind(None, *arguments)
        except TypeError as error:
            return f"{cls.__name__}.{name}{signature}: it is called as '{wanted}': {error}"
    return None
