"""One table for three uses: a section's dataclass says its keys, what each may hold, its default and its meaning.

The reader, the JSON Schema and ``compare`` all take what they need to know about a key from here.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from .faults import Faulty
from .kinds import Kind
from .reader import Reader
from .tree import Mapping as MappingNode
from .tree import Node, Scalar

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known of one key; ``only`` names the one kind of section that has it ('' for all)."""

    name: str
    kind: Kind
    doc: str
    default: Any
    only: str = ""

    @property
    def required(self) -> bool:
        return self.default is dataclasses.MISSING


def setting(kind: Kind, doc: str, default: Any = dataclasses.MISSING, *, only: str = "", repr: bool = True) -> Any:
    """A dataclass field that is a key of the YAML; without a default it is required. A dict is a default of its own."""
    metadata = {"kind": kind, "doc": doc, "only": only}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=dict, metadata=metadata, repr=repr)
    return dataclasses.field(default=default, metadata=metadata, repr=repr)


@functools.cache
def settings_of(section: type, only: str = "") -> Mapping[str, Setting]:
    """The keys of a section's dataclass, in order; of those bound to one kind, only that kind's."""
    found = {}
    for field in dataclasses.fields(section):
        if "kind" in field.metadata and field.metadata["only"] in ("", only):
            factory = field.default_factory
            default = field.default if factory is dataclasses.MISSING else factory()
            meta = field.metadata
            found[field.name] = Setting(field.name, meta["kind"], meta["doc"], default, meta["only"])
    return found


def read_settings(section: type, node: Node, path: str, reader: Reader, only: str = "") -> dict[str, Any]:
    """The values given for a section's keys, without the defaults. Raises Faulty after looking at all of them."""
    values, faulty = gather_settings(section, node, path, reader, only)
    if faulty:
        raise faulty
    return values


def gather_settings(
    section: type, node: Node, path: str, reader: Reader, only: str = ""
) -> tuple[dict[str, Any], Faulty | None]:
    """The values that could be read, and whether anything was wrong: for sections with checks across keys."""
    mapping = as_mapping(node, path, reader)
    known = settings_of(section, only)
    faulty: Faulty | None = None
    for key, (at, _) in mapping.pairs.items():
        if key not in known:
            faulty = reader.unknown(at, _below(path, key), "unknown key", key, known)
    values = {}
    for name, about in known.items():
        if name in mapping.pairs:
            try:
                values[name] = about.kind.read(mapping.pairs[name][1], _below(path, name), reader)
            except Faulty as fault:
                faulty = fault
        elif about.required:
            faulty = reader.fault(mapping, path, f"the key '{name}' is missing", f"add '{name}:', {about.doc}")
    return values, faulty


def as_mapping(node: Node, path: str, reader: Reader) -> MappingNode:
    """The node if it is a mapping; a key with nothing behind it (all its lines are comments) is an empty one."""
    if isinstance(node, MappingNode):
        return node
    if isinstance(node, Scalar) and reader.scalar(node, path) is None:
        return MappingNode(node.at, {})
    raise reader.expected(node, path, "a mapping", "write it as 'key: value' lines")


def read_section(section: type[_T], node: Node, path: str, reader: Reader) -> _T:
    """The dataclass of a section from its node."""
    return section(**read_settings(section, node, path, reader))


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
