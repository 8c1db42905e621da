"""Whether two schedulers of one name are the same: class, arguments in the YAML, and every listed attribute."""

from __future__ import annotations

from inspect import ismethod
from typing import Any

from .filters import ChangeFilter
from .interface import SchedulerFault


def compare_attrs(cls: type) -> tuple[str, ...]:
    """The attributes that ``cls`` and all of its bases list, each once."""
    names: dict[str, None] = {}
    for base in cls.__mro__:
        listed = base.__dict__.get("compare_attrs", ())
        names.update(dict.fromkeys((listed,) if isinstance(listed, str) else listed))
    return tuple(names)


def compared(scheduler: object) -> tuple[Any, ...]:
    """What is compared of an instance. SchedulerFault: its constructor never set a listed attribute."""
    values = []
    for name in compare_attrs(type(scheduler)):
        try:
            values.append(_in_any_instance(getattr(scheduler, name), scheduler))
        except AttributeError:
            raise SchedulerFault(
                f"{type(scheduler).__name__}.compare_attrs lists {name!r}, which the constructor never sets;"
                f" set self.{name} in __init__ or take it off the list"
            ) from None
    return (type(scheduler), *values)


def _in_any_instance(value: Any, scheduler: object) -> Any:
    """Two instances of one configuration differ in what their own methods are bound to, and in nothing else."""
    if ismethod(value) and value.__self__ is scheduler:
        return value.__func__
    return value.compared_in(scheduler) if isinstance(value, ChangeFilter) else value
