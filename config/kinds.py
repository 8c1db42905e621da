"""The kinds of values that settings have: each reads a node, and tells editors its JSON Schema."""

from __future__ import annotations

import re
import zoneinfo
from dataclasses import dataclass
from typing import Any, Protocol

from .durations import DURATION_PATTERN, LONGEST_S, format_duration, parse_duration
from .faults import shown
from .reader import Reader, is_secret
from .scalars import ScalarValue
from .secret import Secret
from .tree import Mapping, Node, Scalar, Sequence

LONGEST_NAME = 200
LONGEST_TEXT = 100_000  # longer arguments and variables could not be given to a program
_REFERENCE = {"type": "string", "pattern": r"\$\{"}
_SIZES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_SIZE = re.compile(r"([0-9]{1,15})\s*([A-Za-z]{1,3})")
# Such files exist beside the zones, and mean another zone on each host, or none.
_NOT_A_ZONE = ("localtime", "posixrules", "Factory")


class Kind(Protocol):
    def read(self, node: Node, path: str, reader: Reader) -> Any:
        """The value; raises Faulty once what is wrong has been recorded."""

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of what ``read`` accepts."""


def _scalar(node: Node, path: str, reader: Reader, wanted: str) -> ScalarValue:
    if not isinstance(node, Scalar):
        raise reader.expected(node, path, wanted)
    return reader.number(node, path)


@dataclass(frozen=True, slots=True)
class Text:
    """Text; with ``secret`` also a ``{secret: ...}``; with ``name`` short, not empty and printable."""

    wanted: str = "text"
    secret: bool = False
    name: bool = False
    empty: bool = False
    pattern: str = ""

    def read(self, node: Node, path: str, reader: Reader) -> str | Secret:
        if self.secret and isinstance(node, Mapping) and is_secret(node):
            return reader.secret(node, path)
        if is_secret(node):
            raise reader.fault(node, path, f"expected {self.wanted}; a secret cannot stand here")
        if not isinstance(node, Scalar):
            raise reader.expected(node, path, self.wanted)
        value = reader.scalar(node, path)
        if isinstance(value, str):
            return self._checked(value, node, path, reader)
        cure = f'quote it: "{node.text}"' if value is not None and len(node.text) < 60 else ""
        raise reader.expected(node, path, self.wanted, cure)

    def _checked(self, value: str, node: Node, path: str, reader: Reader) -> str:
        if not value and not self.empty:
            raise reader.fault(node, path, f"expected {self.wanted}, got empty text")
        longest = LONGEST_NAME if self.name else LONGEST_TEXT
        if len(value) > longest:
            raise reader.fault(node, path, f"{shown(value)} is longer than {longest:,} characters")
        if self.name and not value.isprintable():
            raise reader.fault(node, path, f"{shown(value)} holds control characters")
        if self.name and value != value.strip():
            raise reader.fault(node, path, f"{shown(value)} begins or ends with a space")
        if self.pattern and not re.fullmatch(self.pattern, value):
            raise reader.fault(node, path, f"expected {self.wanted}, got {shown(value)}")
        return value

    def schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "string"} | ({} if self.empty else {"minLength": 1})
        if self.name:
            schema["maxLength"] = LONGEST_NAME
        if self.pattern:
            schema["pattern"] = rf"^(?:{self.pattern})$|\$\{{"
        return {"anyOf": [schema, {"$ref": "#/$defs/secret"}]} if self.secret else schema


NAME = Text("a name", name=True)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words, with or without quotes (``off`` without quotes is a bool to YAML, and accepted here)."""

    words: tuple[str, ...]

    def read(self, node: Node, path: str, reader: Reader) -> str:
        wanted = " or ".join(self.words)
        if not isinstance(node, Scalar):
            raise reader.expected(node, path, wanted)
        text = reader.text(node, path)
        if text not in self.words:
            cure = reader.faults.suggest(text, self.words)
            raise reader.fault(node, path, f"expected {wanted}, got {shown(text)}", cure)
        return text

    def schema(self) -> dict[str, Any]:
        bools: list[object] = [False] if "off" in self.words else []
        return {"anyOf": [{"enum": [*self.words, *bools]}, _REFERENCE]}


@dataclass(frozen=True, slots=True)
class Flag:
    def read(self, node: Node, path: str, reader: Reader) -> bool:
        value = _scalar(node, path, reader, "true or false")
        if not isinstance(value, bool):
            raise reader.expected(node, path, "true or false")
        return value

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "boolean"}, _REFERENCE]}


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number; with ``null`` also nothing, which is None."""

    least: int
    most: int
    null: bool = False

    def read(self, node: Node, path: str, reader: Reader) -> int | None:
        wanted = f"a whole number from {self.least:,} to {self.most:,}"
        value = _scalar(node, path, reader, wanted)
        if value is None and self.null:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not self.least <= value <= self.most:
            raise reader.expected(node, path, wanted)
        return value

    def schema(self) -> dict[str, Any]:
        number = {"type": "integer", "minimum": self.least, "maximum": self.most}
        return {"anyOf": [number, _REFERENCE, *([{"type": "null"}] if self.null else [])]}


@dataclass(frozen=True, slots=True)
class Duration:
    """Seconds, from ``least_s`` to ``most_s``; with ``null`` also nothing, which is None: without end."""

    least_s: float = 0.0
    most_s: float = LONGEST_S
    null: bool = False

    def read(self, node: Node, path: str, reader: Reader) -> float | None:
        value = _scalar(node, path, reader, "a duration such as 90s or 5m")
        if value is None and self.null:
            return None
        if value is None or isinstance(value, bool):
            raise reader.expected(node, path, "a duration such as 90s or 5m")
        try:
            seconds = parse_duration(value)
        except ValueError as error:
            raise reader.fault(node, path, f"{error}, got {shown(value)}") from None
        if seconds < self.least_s:
            raise reader.fault(node, path, f"must be at least {format_duration(self.least_s)}, got {shown(value)}")
        if seconds > self.most_s:
            raise reader.fault(node, path, f"must be at most {format_duration(self.most_s)}, got {shown(value)}")
        return seconds

    def schema(self) -> dict[str, Any]:
        number = {"type": "number", "minimum": self.least_s, "maximum": self.most_s}
        text = {"type": "string", "minLength": 1, "pattern": rf"{DURATION_PATTERN}|^[0-9.]+$|\$\{{"}
        return {"anyOf": [number, text, *([{"type": "null"}] if self.null else [])]}


@dataclass(frozen=True, slots=True)
class Size:
    """A number of bytes: plain, or with a unit (kB, MB, GB by thousands; KiB, MiB, GiB by 1024)."""

    least: int
    most: int

    def read(self, node: Node, path: str, reader: Reader) -> int:
        wanted = f"a size such as 500kB or 10MiB, from {self.least:,} to {self.most:,} bytes"
        value = _scalar(node, path, reader, wanted)
        size = _bytes(value)
        if size is None or not self.least <= size <= self.most:
            raise reader.expected(node, path, wanted)
        return size

    def schema(self) -> dict[str, Any]:
        number = {"type": "integer", "minimum": self.least, "maximum": self.most}
        units = "|".join(_SIZES)
        return {"anyOf": [number, {"type": "string", "pattern": rf"^[0-9]+\s*({units})$|\$\{{"}]}


def _bytes(value: ScalarValue) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    units = {unit.lower(): size for unit, size in _SIZES.items()}
    return int(found[1]) * units[found[2].lower()] if found and found[2].lower() in units else None


@dataclass(frozen=True, slots=True)
class Zone:
    """A time zone's IANA name."""

    def read(self, node: Node, path: str, reader: Reader) -> str:
        name = Text("a time zone such as Europe/Berlin").read(node, path, reader)
        assert isinstance(name, str)
        if not is_zone(name):
            known = zoneinfo.available_timezones() - set(_NOT_A_ZONE)
            raise reader.unknown(node.at, path, f"unknown time zone {shown(name)}", name, sorted(known))
        return name

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "minLength": 1}


def is_zone(name: str) -> bool:
    """Whether ``name`` is an IANA time zone (never a file that means the host's own)."""
    try:
        zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        return False
    return name not in _NOT_A_ZONE


@dataclass(frozen=True, slots=True)
class ListOf:
    """A tuple of values of one kind; nothing is none, unless at least one is wanted."""

    item: Kind
    wanted: str = "a list"
    least: int = 0

    def read(self, node: Node, path: str, reader: Reader) -> tuple[Any, ...]:
        if isinstance(node, Scalar) and reader.scalar(node, path) is None and not self.least:
            return ()
        if not isinstance(node, Sequence):
            raise reader.expected(
                node,
                path,
                self.wanted,
                "write it as [a, b] or as '- a' lines",
            )
        if len(node.items) < self.least:
            raise reader.fault(node, path, f"expected {self.wanted} with at least one item")
        items = ((item, f"{path}[{index}]") for index, item in enumerate(node.items))
        return tuple(reader.each(items, lambda item, at: self.item.read(item, at, reader)))

    def schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "array", "items": self.item.schema()}
        return schema | {"minItems": self.least} if self.least else {"anyOf": [schema, {"type": "null"}]}


@dataclass(frozen=True, slots=True)
class MapOf:
    """A dict of values of one kind; nothing is an empty one."""

    item: Kind
    key: str = ""
    key_wanted: str = ""

    def read(self, node: Node, path: str, reader: Reader) -> dict[str, Any]:
        if isinstance(node, Scalar) and reader.scalar(node, path) is None:
            return {}
        if not isinstance(node, Mapping):
            raise reader.expected(node, path, "a mapping", "write it as 'key: value' lines")
        wrong = [key for key in node.pairs if not re.fullmatch(self.key or ".+", key)]
        for key in wrong:
            reader.fault(node.pairs[key][0], f"{path}.{key}", f"expected {self.key_wanted}, got {shown(key)}")
        items = ((item, f"{path}.{key}") for key, (_, item) in node.pairs.items())
        values = reader.each(items, lambda item, at: self.item.read(item, at, reader))
        return dict(zip(node.pairs, values, strict=True))

    def schema(self) -> dict[str, Any]:
        names = {"propertyNames": {"pattern": f"^(?:{self.key})$"}} if self.key else {}
        return {"anyOf": [{"type": "object", "additionalProperties": self.item.schema()} | names, {"type": "null"}]}


@dataclass(frozen=True, slots=True)
class AnyPlain:
    """Any value without secrets in it: it will be stored and shown."""

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        value = reader.value(node, path)
        if _holds_secret(value):
            raise reader.fault(node, path, "a secret cannot stand here: this is stored and shown")
        return value

    def schema(self) -> dict[str, Any]:
        return {}


def _holds_secret(value: Any) -> bool:
    if isinstance(value, (list, dict)):
        return any(map(_holds_secret, value.values() if isinstance(value, dict) else value))
    return isinstance(value, Secret)
