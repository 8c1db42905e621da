"""Arguments that are worked out for each buildset: ``builderNames``, ``properties`` and ``priority``.

A renderable is an object with ``getRenderingFor(props)``; ``renderer``, ``Property`` and ``Interpolate`` make some. In
any text among these arguments (so in the YAML too) ``%(prop:NAME)s`` and ``%(prop:NAME:-DEFAULT)s`` stand for a
property. What came from outside (a change's properties, a form's) is never looked at so: it is data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .changes import Change
from .hooks import answered
from .interface import SchedulerFault, StampFields

_REFERENCE = re.compile(r"%\(prop:([A-Za-z_][A-Za-z0-9_.-]*?)(?::-([^)]*))?\)s")
_NOTHING: Any = object()


@dataclass(frozen=True, slots=True)
class Props:
    """What a renderable may look at: the buildset's properties, its changes and its source stamps."""

    properties: Mapping[str, Any]
    changes: Sequence[Change] = ()
    sourcestamps: Sequence[StampFields] = ()

    @property
    def files(self) -> list[str]:
        """The files that the changes touch, each once."""
        return list(dict.fromkeys(file for change in self.changes for file in change.files))

    def getProperty(self, name: str, default: Any = None) -> Any:
        """The value of a property, or the default."""
        return self.properties.get(name, default)

    def hasProperty(self, name: str) -> bool:
        """Whether there is such a property."""
        return name in self.properties

    def __getitem__(self, name: str) -> Any:
        return self.properties[name]

    def __contains__(self, name: object) -> bool:
        return name in self.properties

    async def render(self, value: Any) -> Any:
        """``value`` with every renderable in it worked out."""
        return await rendered(value, self)


@dataclass(frozen=True, slots=True)
class Renderer:
    """A function of ``props`` as a renderable; it may be ``async``. Equal to another of the same function."""

    function: Callable[[Props], Any]

    def getRenderingFor(self, props: Props) -> Any:
        """What the function says."""
        return self.function(props)


def renderer(function: Callable[[Props], Any]) -> Renderer:
    """Decorator: make a renderable of a function of ``props``."""
    return Renderer(function)


@dataclass(frozen=True, slots=True)
class Property:
    """The value of a property, whatever its type."""

    name: str
    default: Any = None

    def getRenderingFor(self, props: Props) -> Any:
        """Its value there."""
        return props.getProperty(self.name, self.default)


@dataclass(frozen=True, slots=True)
class Interpolate:
    """Text in which ``%(prop:NAME)s`` stands for a property."""

    text: str

    def getRenderingFor(self, props: Props) -> Any:
        """The text there."""
        return interpolated(self.text, props)


def whole_reference(value: Any) -> Property | None:
    """The Property that a text stands for which is one reference and nothing else: its value may be a list."""
    found = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return None if found is None else Property(found[1], found[2])


def is_renderable(value: Any) -> bool:
    """Whether it is to be worked out for each buildset."""
    return callable(getattr(value, "getRenderingFor", None)) or (
        isinstance(value, str) and _REFERENCE.search(value) is not None
    )


def has_renderables(value: Any) -> bool:
    """Whether there is a renderable in it, however deep."""
    if isinstance(value, Mapping):
        return any(map(has_renderables, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(has_renderables, value))
    return is_renderable(value)


async def rendered(value: Any, props: Props) -> Any:
    """``value`` with every renderable in it worked out. SchedulerFault: a property that is missing."""
    function = getattr(value, "getRenderingFor", None)
    if callable(function):
        answer = await answered(function(props))
        return answer if isinstance(answer, str) else await rendered(answer, props)
    if isinstance(value, str):
        return interpolated(value, props)
    if isinstance(value, Mapping):
        return {name: await rendered(one, props) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        made = [await rendered(one, props) for one in value]
        return made if isinstance(value, list) else tuple(made)
    return value


def interpolated(text: str, props: Props) -> str:
    """``text`` with its references replaced; what is put in is not looked at again. SchedulerFault."""

    def value(found: re.Match[str]) -> str:
        name, default = found[1], found[2]
        given = props.getProperty(name, _NOTHING)
        if given is _NOTHING or given is None:
            if default is None and given is _NOTHING:
                raise SchedulerFault(
                    f"{text!r} needs the property {name!r}, which the buildset does not have; write"
                    f" %(prop:{name}:-DEFAULT)s, or see that it is given"
                )
            return default or ""
        return given if isinstance(given, str) else json.dumps(given)

    return _REFERENCE.sub(value, text)
