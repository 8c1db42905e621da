"""Schedulers and change sources: a type, a name, and arguments that only their class understands."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from .builders import PROPERTY_REFERENCE
from .digests import digest_of
from .faults import Fault, Faulty, Place, place_of, shown
from .kinds import NAME, Text
from .reader import Reader
from .tree import Mapping, Node, Scalar, Sequence

_TYPE = Text(
    "a class such as Periodic or my_plugin.MyClass", pattern=r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*"
)
_DEEPEST_SPOT = 4
_MOST_SPOTS = 2_000


@dataclass(frozen=True, slots=True)
class Spots:
    """Where an entry's arguments stand, small enough to keep for 10,000 entries: equal ``paths`` are one object."""

    paths: tuple[str, ...]
    keys: array[int]
    values: array[int]

    def find(self, path: str) -> tuple[int, int] | None:
        """The positions of the key and of the value at ``path``, such as ``change_filter.branch`` or ``builderNames[1]``."""
        try:
            index = self.paths.index(path)
        except ValueError:
            return None
        return self.keys[index], self.values[index]


@dataclass(frozen=True, slots=True)
class Entry:
    """One scheduler or change source as configured, not yet made.

    ``arguments`` are all keys but ``type``, ``name`` among them, as plain values; a secret is a Secret. They are not
    to be changed. ``digest`` is of type and arguments, secrets aside. Two entries are equal when type and arguments are.
    """

    type: str
    name: str
    arguments: dict[str, Any] = field(repr=False)
    digest: str = field(repr=False)
    place: Place = field(compare=False)
    path: str = field(compare=False)
    spots: Spots = field(compare=False, repr=False)

    def fault(self, key: str, what: str, cure: str = "", *, at_key: bool = False) -> Fault:
        """A fault at the value of ``key`` (with ``at_key`` at the key itself, for one that is unknown).

        ``key`` may reach into arguments: ``change_filter.branch``, ``builderNames[1]``. What stands nowhere in the
        file, and '', is a fault of the whole entry.
        """
        path = f"{self.path}.{key}" if key else self.path
        spot = self.spots.find(key)
        place = place_of(self.place.file, spot[0 if at_key else 1]) if spot else self.place
        return Fault(place, path, what, cure)


class EntryReader:
    """Reads the items of ``schedulers`` or ``change_sources``."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._shapes: dict[tuple[str, ...], tuple[str, ...]] = {}

    def read(self, node: Node, path: str) -> Entry:
        """One entry. Raises Faulty."""
        reader = self._reader
        if not isinstance(node, Mapping):
            raise reader.expected(node, path, "a mapping", "write '- type: ...', 'name: ...'")
        kind = self._required("type", "its class", node, path, _TYPE)
        name = self._required("name", "unique in this list", node, path, NAME)
        arguments: dict[str, Any] = {}
        faulty = not (kind and name)
        for key, (_, value) in node.pairs.items():
            if key not in ("type", "name"):
                try:
                    arguments[key] = reader.value(value, f"{path}.{key}")
                except Faulty:
                    faulty = True
            elif key == "name":
                arguments[key] = name
        if faulty or kind is None or name is None:
            raise Faulty(path)
        place = place_of(reader.faults.file, node.at)
        return Entry(kind, name, arguments, digest_of([kind, arguments]), place, path, self._spots(node))

    def _required(self, key: str, doc: str, node: Mapping, path: str, kind: Text) -> str | None:
        reader = self._reader
        if key not in node.pairs:
            reader.fault(node, path, f"the key '{key}' is missing", f"add '{key}:', {doc}")
            return None
        try:
            value = kind.read(node.pairs[key][1], f"{path}.{key}", reader)
        except Faulty:
            return None
        assert isinstance(value, str)
        return value

    def _spots(self, node: Mapping) -> Spots:
        found = [spot for spot, _ in zip(_walk(node, "", _DEEPEST_SPOT), range(_MOST_SPOTS), strict=False)]
        paths = tuple(path for path, _, _ in found)
        paths = self._shapes.setdefault(paths, paths)
        return Spots(paths, array("Q", (key for _, key, _ in found)), array("Q", (value for _, _, value in found)))


def _walk(node: Mapping | Sequence, path: str, depth: int) -> Iterator[tuple[str, int, int]]:
    if isinstance(node, Sequence):
        below = [(f"{path}[{index}]", item.at, item) for index, item in enumerate(node.items)]
    else:
        below = [(f"{path}.{key}" if path else key, at, item) for key, (at, item) in node.pairs.items()]
    for where, at, item in below:
        yield where, at, item.at
        if depth > 1 and not isinstance(item, Scalar):
            yield from _walk(item, where, depth - 1)


def check_builder_names(node: Mapping, path: str, known: set[str], reader: Reader) -> None:
    """Record a fault for each builder that an entry's ``builderNames`` names and nobody configured.

    Only text and lists are looked at; what is worked out while running (``%(prop:NAME)s``) is found out then.
    """
    if "builderNames" not in node.pairs:
        return
    names = node.pairs["builderNames"][1]
    path = f"{path}.builderNames"
    check: Callable[[Node, str], None] = lambda item, where: _check_builder(item, where, known, reader)  # noqa: E731
    try:
        if isinstance(names, Scalar) and (value := reader.scalar(names, path)) is not None:
            if isinstance(value, str) and PROPERTY_REFERENCE.fullmatch(value):
                return
            cure = f"write [{value}]" if isinstance(value, str) and len(value) < 60 else "write [NAME]"
            reader.expected(names, path, "a list of builders", cure)
        elif isinstance(names, Sequence):
            reader.each(((item, f"{path}[{index}]") for index, item in enumerate(names.items)), check)
    except Faulty:
        return


def _check_builder(node: Node, path: str, known: set[str], reader: Reader) -> None:
    if isinstance(node, Scalar):
        name = Text("a builder's name").read(node, path, reader)
        if isinstance(name, str) and name not in known and not PROPERTY_REFERENCE.search(name):
            raise reader.unknown(node.at, path, f"unknown builder {shown(name)}", name, known)
