"""From bytes to a light tree with positions, refusing hostile YAML before it can cost anything.

The events of the C parser are walked one by one, so depth, number of nodes and aliases are bounded while reading;
nothing is composed or constructed by the YAML library itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeAlias

import yaml

from .faults import COLUMN_BITS, ConfigError, FaultList, Faulty, packed, place_of, shown
from .scalars import Ambiguous, resolve

LARGEST_FILE = 16 * 1024 * 1024
DEEPEST = 50
MOST_VALUES = 200_000  # ten thousand schedulers of twenty values; refusing more takes under a second
MOST_KEYS = 10_000
MOST_ANCHORS = 10_000
LONGEST_KEY = 200

_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")
# The library takes time with the square of their number; they only matter to tags, which are refused anyway.
_TAG_DIRECTIVE = re.compile("(?:\\A|[\n\r\x85\u2028\u2029])%TAG")
_SCALAR, _ALIAS = yaml.ScalarEvent, yaml.AliasEvent
_SEQUENCE, _SEQUENCE_END = yaml.SequenceStartEvent, yaml.SequenceEndEvent
_MAPPING, _MAPPING_END = yaml.MappingStartEvent, yaml.MappingEndEvent


class Scalar:
    """Text as written, not yet interpolated; ``plain`` when it had no quotes."""

    __slots__ = ("at", "plain", "text")

    def __init__(self, at: int, text: str, plain: bool) -> None:
        self.at, self.text, self.plain = at, text, plain


class Sequence:
    __slots__ = ("at", "items")

    def __init__(self, at: int, items: list[Node]) -> None:
        self.at, self.items = at, items


class Mapping:
    """``pairs``: key -> (the key's position, the value's node), in the order of the file."""

    __slots__ = ("at", "pairs")

    def __init__(self, at: int, pairs: dict[str, tuple[int, Node]]) -> None:
        self.at, self.pairs = at, pairs


Node: TypeAlias = Scalar | Sequence | Mapping


@dataclass(frozen=True, slots=True)
class _Anchored:
    """A node that aliases may repeat: how many values that would add, and how many levels below itself."""

    node: Node
    values: int
    height: int


def compose(data: bytes, faults: FaultList) -> Node | None:
    """The tree of the one document in ``data``; None for an empty one.

    Duplicate and odd keys are added to ``faults``. What makes the rest unreadable (syntax, size, depth, tags, a second
    document) is added too and ends the reading with ConfigError.
    """
    try:
        text = _decoded(data, faults)
        return _Composer(data, faults).document()
    except Faulty:
        pass
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = packed(mark.line + 1, mark.column + 1) if mark else packed(1, 1)
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        faults.add(at, "", f"not valid YAML: {problem}", _cure_for(problem, text, mark.line if mark else 0))
    except yaml.YAMLError:
        faults.add(packed(1, 1), "", "not valid YAML: unreadable characters")
    raise ConfigError(faults)


def _decoded(data: bytes, faults: FaultList) -> str:
    if len(data) > LARGEST_FILE:
        raise faults.add(packed(1, 1), "", f"the file is larger than {LARGEST_FILE >> 20} MB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise faults.add(packed(line, column), "", "not UTF-8 text", "save the file as UTF-8") from None
    if found := _FORBIDDEN.search(text):
        what = f"a control character, {shown(found[0])}, cannot stand in a YAML file"
        raise faults.add(_position(text, found.start()), "", what, "is it binary?")
    if "%TAG" in text and (found := _TAG_DIRECTIVE.search(text)):
        raise faults.add(_position(text, found.end() - 4), "", "%TAG directives are not accepted", "take the line out")
    return text


def _position(text: str, index: int) -> int:
    return packed(text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index))


def _cure_for(problem: str, text: str, line: int) -> str:
    around = "\n".join(text.split("\n")[max(0, line - 1) : line + 1])
    if "${" in around:
        return 'inside {...} and [...], put quotes around "${...}"'
    if "\t" in around and ("token" in problem or "tab" in problem):
        return "indent with spaces, not with tabs"
    if "token" in problem and any(sign in around for sign in "%@`"):
        return "put quotes around text that starts with %, @ or `"
    if problem.startswith("mapping values are not allowed"):
        return "put quotes around text that holds ': '"
    return ""


class _Composer:
    def __init__(self, data: bytes, faults: FaultList) -> None:
        loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self._next = loader(data).get_event
        self._faults = faults
        self._trail: list[str | int] = []
        self._anchors: dict[str, _Anchored | None] = {}
        self._values = 0
        self._deepest = 0
        self._good_keys: set[str] = set()
        self._words: dict[str, str] = {}  # equal short texts are one object: 10,000 schedulers repeat themselves

    def document(self) -> Node | None:
        self._next()
        event = self._next()
        if isinstance(event, yaml.StreamEndEvent):
            return None
        root = self._node(self._next(), 1)
        self._next()
        event = self._next()
        if not isinstance(event, yaml.StreamEndEvent):
            raise self._fatal(event, "a second YAML document", "keep one document: take out the line '---'")
        return root

    def _node(self, event: Any, depth: int) -> Node:
        kind = type(event)
        if kind is _ALIAS:
            return self._alias(event, depth)
        self._values += 1
        if self._values > MOST_VALUES:
            raise self._fatal(event, f"more than {MOST_VALUES:,} values, aliases counted in full")
        if event.tag is not None:
            raise self._fatal(event, f"tags such as {shown(event.tag)} are not accepted", "take the tag out")
        if event.anchor is not None:
            return self._anchored(event, depth)
        return self._scalar(event) if kind is _SCALAR else self._collection(event, depth)

    def _scalar(self, event: Any) -> Scalar:
        mark = event.start_mark
        at = (mark.line + 1) << COLUMN_BITS | mark.column + 1  # packed(), without the cost of calling it
        text: str = event.value
        if len(text) < 60:
            text = self._words.setdefault(text, text)
        if "\0" in text:
            self._faults.add(at, self._path(), "the text holds a NUL character", "take \\0 out")
        return Scalar(at, text, not event.style)

    def _collection(self, event: Any, depth: int) -> Sequence | Mapping:
        if depth > DEEPEST:
            raise self._fatal(event, f"nested deeper than {DEEPEST} levels")
        self._deepest = max(self._deepest, depth)
        mark = event.start_mark
        at = packed(mark.line + 1, mark.column + 1)
        self._trail.append("")
        node = self._sequence(at, depth) if type(event) is _SEQUENCE else self._mapping(at, depth)
        self._trail.pop()
        return node

    def _anchored(self, event: Any, depth: int) -> Node:
        if len(self._anchors) >= MOST_ANCHORS:
            raise self._fatal(event, f"more than {MOST_ANCHORS:,} anchors")
        self._anchors[event.anchor] = None  # until it is whole, an alias to it would be a loop
        values, deepest = self._values - 1, self._deepest
        self._deepest = depth
        node: Node = self._scalar(event) if type(event) is _SCALAR else self._collection(event, depth)
        self._anchors[event.anchor] = _Anchored(node, self._values - values, self._deepest - depth)
        self._deepest = max(deepest, self._deepest)
        return node

    def _alias(self, event: Any, depth: int) -> Node:
        if event.anchor not in self._anchors:
            raise self._fatal(event, f"alias to an unknown anchor {shown(event.anchor)}")
        anchored = self._anchors[event.anchor]
        if anchored is None:
            raise self._fatal(event, f"the alias {shown(event.anchor)} contains itself")
        self._values += anchored.values
        if self._values > MOST_VALUES:
            raise self._fatal(event, f"more than {MOST_VALUES:,} values, aliases counted in full")
        if depth + anchored.height > DEEPEST:
            raise self._fatal(event, f"nested deeper than {DEEPEST} levels")
        self._deepest = max(self._deepest, depth + anchored.height)
        return anchored.node

    def _sequence(self, at: int, depth: int) -> Sequence:
        items: list[Node] = []
        while type(event := self._next()) is not _SEQUENCE_END:
            self._trail[-1] = len(items)
            items.append(self._node(event, depth + 1))
        return Sequence(at, items)

    def _mapping(self, at: int, depth: int) -> Mapping:
        pairs: dict[str, tuple[int, Node]] = {}
        merged: list[Mapping] = []
        while type(event := self._next()) is not _MAPPING_END:
            mark = event.start_mark
            key_at = (mark.line + 1) << COLUMN_BITS | mark.column + 1
            key = self._key(event, key_at)
            if len(pairs) >= MOST_KEYS:
                raise self._fatal(event, f"more than {MOST_KEYS:,} keys in one mapping")
            node = self._node(self._next(), depth + 1)
            if key == "<<" and not event.style:
                merged += self._merge(node)
            elif key in pairs:
                first = place_of("", pairs[key][0])
                what = f"this key stands here twice, first in line {first.line}"
                self._faults.add(key_at, self._path(), what, "keep one")
            else:
                pairs[key] = (key_at, node)
        for mapping in merged:
            for key, pair in mapping.pairs.items():
                pairs.setdefault(key, pair)
        return Mapping(at, pairs)

    def _merge(self, node: Node) -> list[Mapping]:
        items = node.items if isinstance(node, Sequence) else [node]
        mappings = [item for item in items if isinstance(item, Mapping)]
        if not mappings or len(mappings) < len(items):
            self._faults.add(node.at, self._path(), "'<<' needs an alias to a mapping, or a list of them")
        return mappings

    def _key(self, event: Any, at: int) -> str:
        if type(event) is not _SCALAR:
            raise self._fatal(event, "a key must be text", "a list, a mapping or an alias cannot be one")
        if event.tag is not None or event.anchor is not None:
            raise self._fatal(event, "a key cannot have a tag or an anchor")
        key: str = event.value
        if key not in self._good_keys:
            self._check_key(event, key, at)
        self._trail[-1] = key = self._words.setdefault(key, key)
        return key

    def _check_key(self, event: Any, key: str, at: int) -> None:
        if len(key) > LONGEST_KEY or not key.isprintable():
            raise self._fatal(event, f"the key {shown(key)} is too long or holds control characters")
        if event.style:
            return
        if _is_text(key):
            self._good_keys.add(key)
        else:
            self._trail[-1] = key
            self._faults.add(at, self._path(), f"the key {shown(key)} is not text to YAML", f'quote it: "{key}"')

    def _path(self) -> str:
        parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in self._trail if part != "")
        return "".join(parts).removeprefix(".")

    def _fatal(self, event: Any, what: str, cure: str = "") -> Faulty:
        mark = event.start_mark
        return self._faults.add(packed(mark.line + 1, mark.column + 1), self._path(), what, cure)


def _is_text(plain: str) -> bool:
    try:
        return isinstance(resolve(plain), str)
    except Ambiguous:
        return False
