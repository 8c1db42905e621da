"""Whether two schedulers of one name are the same: class, arguments in the YAML, and every listed attribute."""

from __future__ import annotations

from functools import cache
from inspect import ismethod
from typing import Any

from .filters import ChangeFilter
from .interface import SchedulerFault


@cache
def compare_attrs(cls: Any) -> tuple[str, ...]:
    """The attributes that ``cls`` and all of its bases list, each once."""
    names: dict[str, None] = {}
    for base in cls.__mro__:
        listed = base.__dict__.get("compare_attrs", ())
        names.update(dict.fromkeys((listed,) if isinstance(listed, str) else listed))
    return tuple(names)


def compared(scheduler: object) -> tuple[Any, ...]:
    """What is compared of an instance. SchedulerFault: its constructor never set a listed attribute."""
    cls: Any = type(scheduler)  # to mypy a class whose base is untyped is not hashable
    values = []
    for name in compare_attrs(cls):
        try:
            values.append(_in_any_instance(getattr(scheduler, name), scheduler))
        except AttributeError:
            raise SchedulerFault(
                f"{cls.__name__}.compare_attrs lists {name!r}, which the constructor never sets;"
                f" set self.{name} in __init__ or take it off the list"
            ) from None
    return (cls, *values)


def _in_any_instance(value: Any, scheduler: object) -> Any:
    """Two instances of one configuration differ in what their own methods are bound to, and in nothing else."""
    if ismethod(value) and value.__self__ is scheduler:
        return value.__func__
    return value.compared_in(scheduler) if isinstance(value, ChangeFilter) else value
