"""Hooks: what a master calls on a scheduler. Each may be plain, ``async def``, or give a Deferred (inlineCallbacks)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from functools import cache, wraps
from typing import Any, ParamSpec

from twisted.internet.defer import Deferred

P = ParamSpec("P")

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
    "getCodebaseDict": ("codebase",),
}
"""name -> the arguments that it is called with."""


def hook(function: Callable[P, Coroutine[Any, Any, Any]]) -> Callable[P, Any]:
    """An ``async def`` whose call gives a Deferred: begun at once, and fit for ``await``, for ``yield`` and for callbacks.

    So a subclass may call ``super().activate()`` from whatever kind of hook it has.
    """

    @wraps(function)
    def begun(*args: P.args, **kwargs: P.kwargs) -> Deferred[Any]:
        return Deferred.fromCoroutine(function(*args, **kwargs))

    return begun


async def answered(value: Any) -> Any:
    """The answer of user code that may give a value, an awaitable or a Deferred."""
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
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):  # something that Python cannot look into
            continue
        try:
            signature.bind(None, *arguments)
        except TypeError as error:
            return f"{cls.__name__}.{name}{signature}: it is called as '{wanted}': {error}"
    return None
