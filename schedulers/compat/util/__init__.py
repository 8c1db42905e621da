"""Small things that schedulers import from ``buildbot.util``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import wraps
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock

from ...comparing import compare_attrs
from ...filters import NOT_GIVEN
from ..absent import absent
from ..changes.filter import ChangeFilter
from ..process.properties import Interpolate, Properties, Property, WithProperties, renderer

__all__ = [
    "UTC",
    "ChangeFilter",
    "ComparableMixin",
    "Interpolate",
    "NotABranch",
    "Properties",
    "Property",
    "WithProperties",
    "ascii2unicode",
    "bytes2unicode",
    "datetime2epoch",
    "deferredLocked",
    "epoch2datetime",
    "flatten",
    "makeList",
    "naturalSort",
    "none_or_str",
    "now",
    "renderer",
    "string2boolean",
    "unicode2bytes",
]

NotABranch: Any = NOT_GIVEN
"""For ``branch`` arguments: not given, which is not the default branch (None)."""


class ComparableMixin:
    """Equal when the class and all that ``compare_attrs`` lists are; schedulers are compared without it."""

    compare_attrs: Any = ()

    def _compared(self) -> tuple[Any, ...]:
        cls: Any = type(self)  # to mypy not hashable
        return tuple(getattr(self, name, None) for name in compare_attrs(cls))

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._compared() == other._compared()

    def __hash__(self) -> int:
        return hash((type(self), *map(repr, self._compared())))


def deferredLocked(lock: str | DeferredLock) -> Callable[[Callable[..., Any]], Callable[..., Deferred[Any]]]:
    """Decorator: one call at a time. ``lock``: a DeferredLock, or the name of the attribute that is one."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Deferred[Any]]:
        @wraps(function)
        def locked(*args: Any, **kwargs: Any) -> Deferred[Any]:
            held = getattr(args[0], lock) if isinstance(lock, str) else lock
            answer: Deferred[Any] = held.run(function, *args, **kwargs)
            return answer

        return locked

    return decorate


def now(_reactor: Any) -> float:
    """Seconds since the epoch, of a reactor that is handed in: ``now(self._reactor)``. ``self.now()`` is the cluster's time."""
    return float(_reactor.seconds())


def epoch2datetime(epoch: float | None) -> datetime | None:
    """A time in UTC of seconds since the epoch."""
    return None if epoch is None else datetime.fromtimestamp(epoch, UTC)


def datetime2epoch(moment: datetime | None) -> int | None:
    """Whole seconds since the epoch."""
    return None if moment is None else int(moment.timestamp())


def bytes2unicode(given: bytes | str | None, encoding: str = "utf-8", errors: str = "strict") -> str | None:
    """Text of bytes; text and None as they are."""
    return given.decode(encoding, errors) if isinstance(given, bytes) else given


ascii2unicode = bytes2unicode


def unicode2bytes(given: bytes | str, encoding: str = "utf-8", errors: str = "strict") -> bytes:
    """Bytes of text; bytes as they are."""
    return given.encode(encoding, errors) if isinstance(given, str) else given


def flatten(given: Any, types: tuple[type, ...] = (list, tuple)) -> Any:
    """A list without lists inside."""
    if not isinstance(given, types) or isinstance(given, Mapping):
        return given
    found: list[Any] = []
    members: Any = given
    for one in members:
        inner = flatten(one, types)
        found += inner if isinstance(one, types) else [inner]
    return found


def none_or_str(given: Any) -> str | None:
    """Text of anything; None as it is."""
    return None if given is None else str(given)


def makeList(given: Any) -> list[Any]:
    """A list of what may be a list, a tuple, one text or None."""
    return [] if given is None else [given] if isinstance(given, str) else list(given)


def string2boolean(given: str) -> bool:
    """Of on, true, yes, 1 and off, false, no, 0 in any case. KeyError for all else."""
    return {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}[
        given.lower()
    ]


def naturalSort(names: Iterable[str]) -> list[str]:
    """Sorted, with numbers in the texts by their value."""
    return sorted(
        names,
        key=lambda name: [
            (part.isdigit(), int(part) if part.isdigit() else part) for part in re.findall(r"[0-9]+|[^0-9]+", name)
        ],
    )


__getattr__ = absent(__name__)
