"""``Properties``, and what is worked out from them: ``Property``, ``Interpolate``, ``WithProperties``, ``renderer``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, is_dataclass, replace
from typing import Any

from ...interface import SchedulerFault
from ...rendering import Props, rendered
from ...rendering import Renderer as NewRenderer
from ..absent import absent

__all__ = ["Interpolate", "Properties", "Property", "WithProperties", "renderer"]

_NOTHING: Any = object()


class Properties(Mapping[str, Any]):
    """Named values, each with the source that it came from. As a mapping: name -> value.

    Whatever takes properties here takes one of these, and keeps the sources.
    """

    def __init__(self, **values: Any) -> None:
        self.properties: dict[str, tuple[Any, str]] = {}
        self.update(values, "TEST")

    @classmethod
    def fromDict(cls, given: Mapping[str, Any], source: str = "") -> Properties:
        """Of name -> (value, source); where there is no source, it is ``source``."""
        made = cls()
        for name, value in given.items():
            pair = value if isinstance(value, (tuple, list)) and len(value) == 2 and isinstance(value[1], str) else None
            made.setProperty(name, *(pair or (value, source)))
        return made

    def __getitem__(self, name: str) -> Any:
        return self.properties[name][0]

    def __iter__(self) -> Iterator[str]:
        return iter(self.properties)

    def __len__(self) -> int:
        return len(self.properties)

    def __eq__(self, other: object) -> bool:
        return self.properties == other.properties if isinstance(other, Properties) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Properties({self.properties!r})"

    def getProperty(self, name: str, default: Any = None) -> Any:
        """The value, or the default."""
        return self.properties.get(name, (default, ""))[0]

    def getPropertySource(self, name: str) -> str:
        """Where it came from. KeyError."""
        return self.properties[name][1]

    def hasProperty(self, name: str) -> bool:
        """Whether there is such a property."""
        return name in self.properties

    has_key = hasProperty

    def setProperty(self, name: str, value: Any, source: str, runtime: bool = False) -> None:
        """Set or replace one."""
        self.properties[name] = (value, str(source))

    def update(self, given: Mapping[str, Any], source: str, runtime: bool = False) -> None:
        """Set or replace several, all of one source."""
        for name, value in given.items():
            self.setProperty(name, value, source)

    def updateFromProperties(self, other: Properties) -> None:
        """Take over another's, with their sources."""
        self.properties.update(other.properties)

    updateFromPropertiesNoRuntime = updateFromProperties

    def getProperties(self) -> Properties:
        """Itself."""
        return self

    def asDict(self) -> dict[str, tuple[Any, str]]:
        """name -> (value, source)."""
        return dict(self.properties)

    def asList(self) -> list[tuple[str, Any, str]]:
        """(name, value, source), sorted by name."""
        return [(name, *self.properties[name]) for name in sorted(self.properties)]

    async def render(self, value: Any) -> Any:
        """``value`` with every renderable in it worked out."""
        return await rendered(value, Props(self))


def with_sources(given: Any) -> Any:
    """What the schedulers take: of ``Properties`` the mapping of name -> (value, source); all else as it is."""
    return given.asDict() if isinstance(given, Properties) else given


@dataclass(frozen=True)
class Renderer(NewRenderer):
    """A function of ``props`` as a renderable; it finds source stamps as dictionaries."""

    def getRenderingFor(self, props: Any) -> Any:
        """What the function says."""
        if isinstance(props, Props):
            stamps: Any = [asdict(one) if is_dataclass(one) else one for one in props.sourcestamps]
            props = replace(props, sourcestamps=stamps)
        return self.function(props)


def renderer(function: Callable[[Any], Any]) -> Renderer:
    """Decorator: make a renderable of a function of ``props``."""
    return Renderer(function)


@dataclass(frozen=True)
class Property:
    """The value of a property. ``defaultWhenFalse``: the default stands for an empty value, too."""

    key: str
    default: Any = None
    defaultWhenFalse: bool = True

    async def getRenderingFor(self, props: Props) -> Any:
        """Its value there."""
        value = props.getProperty(self.key)
        if value or (value is not None and not self.defaultWhenFalse):
            return value
        return await rendered(self.default, props)


_REFERENCE = re.compile(r"%%|%\((prop|src|kw):((?:[^()]|\([^()]*\))*)\)s")
_NAME = re.compile(r"([A-Za-z0-9._-]*)(?:(:[-~+?])(.*))?", re.DOTALL)
_STAMP = ("branch", "revision", "repository", "project", "codebase")


class Interpolate:
    """Text with ``%(prop:NAME)s``, ``%(src:CODEBASE:ATTRIBUTE)s`` and ``%(kw:NAME)s`` in it, or ``%s`` with arguments.

    After the name: ``:-TEXT`` for one that is missing, ``:~TEXT`` for one that is missing or empty, ``:+TEXT`` for one
    that is there.
    """

    def __init__(self, fmtstring: str, *args: Any, **kwargs: Any) -> None:
        if args and kwargs:
            raise ValueError("Interpolate takes either positional or keyword arguments, not both")
        odd = [found for found in re.findall(r"%\((\w+):", fmtstring) if found not in ("prop", "src", "kw")]
        if odd:
            raise ValueError(f"Interpolate: {odd[0]!r} is not known here; known are prop, src and kw")
        self.fmtstring, self.args, self.kwargs = fmtstring, args, kwargs

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Interpolate) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(self.fmtstring)

    def __repr__(self) -> str:
        return f"Interpolate({self.fmtstring!r})"

    async def getRenderingFor(self, props: Props) -> str:
        """The text there."""
        if self.args:
            return str(self.fmtstring % tuple([await rendered(one, props) for one in self.args]))
        words = await rendered(self.kwargs, props)
        return _REFERENCE.sub(lambda found: _word(found, props, words), self.fmtstring)


def _word(found: re.Match[str], props: Props, words: Mapping[str, Any]) -> str:
    if found[0] == "%%":
        return "%"
    kind, rest = found[1], found[2]
    codebase = ""
    if kind == "src":
        codebase, _, rest = rest.partition(":")
    match = _NAME.fullmatch(rest)
    if match is None:
        raise SchedulerFault(f"{found[0]!r}: expected a name, and after it nothing or :-TEXT, :~TEXT, :+TEXT")
    name, operator, other = match.groups()
    value = _value(kind, codebase, name, props, words)
    there = value is not _NOTHING and value is not None
    if operator == ":+":
        return other if there else ""
    if operator == ":?":
        yes, _, no = other[1:].partition(other[0])
        return yes if there else no
    if (operator == ":-" and not there) or (operator == ":~" and not (there and value)):
        return other
    if value is _NOTHING and kind != "prop":
        raise SchedulerFault(f"{found[0]!r}: there is no such {'source stamp' if kind == 'src' else 'word'}")
    return str(value) if there else ""


def _value(kind: str, codebase: str, name: str, props: Props, words: Mapping[str, Any]) -> Any:
    if kind == "prop":
        return props.getProperty(name, _NOTHING)
    if kind == "kw":
        return words.get(name, _NOTHING)
    if name not in _STAMP:
        raise SchedulerFault(f"a source stamp has no {name!r}; it has {', '.join(_STAMP)}")
    return next((getattr(one, name) for one in props.sourcestamps if one.codebase == codebase), _NOTHING)


class WithProperties:
    """``fmtstring % (properties...)``, or with ``%(NAME)s``, ``%(NAME:-TEXT)s`` and so on; Interpolate is the clearer way."""

    def __init__(self, fmtstring: str, *args: str, **functions: Any) -> None:
        if args and functions:
            raise ValueError("WithProperties takes either positional or keyword arguments, not both")
        self.fmtstring, self.args, self.functions = fmtstring, args, functions

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WithProperties) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(self.fmtstring)

    def getRenderingFor(self, props: Props) -> str:
        """The text there."""
        if self.args:
            return self.fmtstring % tuple(_shown(props.getProperty(name)) for name in self.args)

        def word(found: re.Match[str]) -> str:
            function = self.functions.get(found[1])
            if function is not None:
                return _shown(function(props))
            whole = _REFERENCE.fullmatch(f"%(prop:{found[1]})s")
            if whole is None:
                raise SchedulerFault(f"{self.fmtstring!r}: {found[1]!r} is not a property's name")
            return _word(whole, props, {})

        return re.sub(r"%\(([^)]*)\)s", word, self.fmtstring)


def _shown(value: Any) -> str:
    return "" if value is None else str(value)


__getattr__ = absent(__name__)
