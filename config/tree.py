"""From bytes to a light tree with positions, refusing hostile YAML before it can cost anything.

The events of the C parser are walked one by one, so depth, number of nodes and aliases are bounded while reading;
nothing is composed or constructed by the YAML library itself.
"""

from __future__ import annotations

import re
from typing import Any, TypeAlias

import yaml

from .faults import FaultList, Faulty, packed, shown
from .scalars import Ambiguous, resolve

LARGEST_FILE = 16 * 1024 * 1024
DEEPEST = 50
MOST_NODES = 500_000
LONGEST_KEY = 200

_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")
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


def compose(data: bytes, faults: FaultList) -> Node | None:
    """The tree of the one document in ``data``; None for an empty one.

    Duplicate and odd keys are added to ``faults``. What makes the rest unreadable (syntax, size, depth, tags, a second
    document) is added too and ends the reading with ConfigError.
    """
    try:
        text = _decoded(data, faults)
        return _Composer(text, faults).document()
    except Faulty:
        faults.settle()
        raise AssertionError("Faulty without a recorded fault")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = packed(mark.line + 1, mark.column + 1) if mark else packed(1, 1)
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        faults.add(at, "", f"not valid YAML: {problem}", _cure_for(text, mark.line if mark else -1))
    except yaml.YAMLError:
        faults.add(packed(1, 1), "", "not valid YAML: unreadable characters")
    faults.settle()
    return None


def _decoded(data: bytes, faults: FaultList) -> str:
    if len(data) > LARGEST_FILE:
        raise faults.add(packed(1, 1), "", f"the file is larger than {LARGEST_FILE >> 20} MB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise faults.add(packed(line, column), "", "not UTF-8 text", "save the file as UTF-8") from None
    found = _FORBIDDEN.search(text)
    if found:
        start = found.start()
        at = packed(text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start))
        raise faults.add(
            at, "", f"a control character, {shown(found[0])}, cannot stand in a YAML file", "is it binary?"
        )
    return text


def _cure_for(text: str, line: int) -> str:
    lines = text.split("\n")
    around = "\n".join(lines[max(0, line - 1) : line + 1])
    if "${" in around:
        return 'inside {...} and [...], put quotes around "${...}"'
    if "\t" in around:
        return "indent with spaces, not with tabs"
    if "%" in around or "@" in around or "`" in around:
        return "put quotes around text that starts with %, @ or `"
    return ""


class _Composer:
    def __init__(self, text: str, faults: FaultList) -> None:
        loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self._next = loader(text.encode()).get_event
        self._faults = faults
        self._trail: list[str] = []
        self._anchors: dict[str, tuple[Node, int, int] | None] = {}  # node, its nodes counted, its height
        self._nodes = 0
        self._deepest = 0
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
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise self._fatal(event, f"more than {MOST_NODES:,} values, aliases counted in full", "")
        if event.tag is not None:
            raise self._fatal(event, f"tags such as {shown(event.tag)} are not accepted", "take the tag out")
        if event.anchor is not None:
            return self._anchored(event, depth)
        return self._untagged(event, kind, depth)

    def _untagged(self, event: Any, kind: type, depth: int) -> Node:
        mark = event.start_mark
        at = packed(mark.line + 1, mark.column + 1)
        if kind is _SCALAR:
            text = event.value
            if len(text) < 60:
                text = self._words.setdefault(text, text)
            if "\0" in text:
                self._faults.add(at, self._path(), "the text holds a NUL character", "take \\0 out")
            return Scalar(at, text, event.style is None or event.style == "")
        if depth > DEEPEST:
            raise self._fatal(event, f"nested deeper than {DEEPEST} levels", "")
        self._deepest = max(self._deepest, depth)
        return self._sequence(at, depth) if kind is _SEQUENCE else self._mapping(at, depth)

    def _anchored(self, event: Any, depth: int) -> Node:
        self._anchors[event.anchor] = None  # until it is whole, an alias to it would be a loop
        counted, deepest = self._nodes - 1, self._deepest
        self._deepest = depth
        node = self._untagged(event, type(event), depth)
        self._anchors[event.anchor] = (node, self._nodes - counted, self._deepest - depth)
        self._deepest = max(deepest, self._deepest)
        return node

    def _alias(self, event: Any, depth: int) -> Node:
        if event.anchor not in self._anchors:
            raise self._fatal(event, f"alias to an unknown anchor {shown(event.anchor)}", "")
        whole = self._anchors[event.anchor]
        if whole is None:
            raise self._fatal(event, f"the alias {shown(event.anchor)} contains itself", "")
        node, nodes, height = whole
        self._nodes += nodes
        if self._nodes > MOST_NODES:
            raise self._fatal(event, f"more than {MOST_NODES:,} values, aliases counted in full", "")
        if depth + height > DEEPEST:
            raise self._fatal(event, f"nested deeper than {DEEPEST} levels", "")
        self._deepest = max(self._deepest, depth + height)
        return node

    def _sequence(self, at: int, depth: int) -> Sequence:
        items: list[Node] = []
        while type(event := self._next()) is not _SEQUENCE_END:
            self._trail.append(f"[{len(items)}]")
            items.append(self._node(event, depth + 1))
            self._trail.pop()
        return Sequence(at, items)

    def _mapping(self, at: int, depth: int) -> Mapping:
        pairs: dict[str, tuple[int, Node]] = {}
        merged: list[Mapping] = []
        while type(event := self._next()) is not _MAPPING_END:
            mark = event.start_mark
            key_at = packed(mark.line + 1, mark.column + 1)
            key = self._key(event, key_at, depth)
            self._trail.append("." + key)
            node = self._node(self._next(), depth + 1)
            if key == "<<" and event.style in (None, ""):
                merged += self._merge(node)
            elif key in pairs:
                line = pairs[key][0] >> 25
                self._faults.add(key_at, self._path(), f"this key stands here twice, first in line {line}", "keep one")
            else:
                pairs[key] = (key_at, node)
            self._trail.pop()
        for mapping in merged:
            for key, pair in mapping.pairs.items():
                pairs.setdefault(key, pair)
        return Mapping(at, pairs)

    def _merge(self, node: Node) -> list[Mapping]:
        mappings = [m for m in (node.items if isinstance(node, Sequence) else [node]) if isinstance(m, Mapping)]
        if not mappings:
            self._faults.add(node.at, self._path(), "'<<' needs an alias to a mapping, or a list of them")
        return mappings

    def _key(self, event: Any, at: int, depth: int) -> str:
        if type(event) is not _SCALAR:
            raise self._fatal(event, "a key must be text", "not a list, a mapping or an alias")
        if event.tag is not None or event.anchor is not None:
            raise self._fatal(event, "a key cannot have a tag or an anchor", "")
        self._nodes += 1
        key: str = event.value
        if len(key) > LONGEST_KEY or not key.isprintable():
            raise self._fatal(event, f"the key {shown(key)} is too long or holds control characters", "")
        if event.style in (None, ""):
            try:
                resolved = resolve(key)
            except Ambiguous:
                resolved = 0
            if not isinstance(resolved, str):
                self._faults.add(at, self._path(), f"the key {shown(key)} is not text to YAML", f'quote it: "{key}"')
        return self._words.setdefault(key, key)

    def _path(self) -> str:
        return "".join(self._trail).lstrip(".")

    def _fatal(self, event: Any, what: str, cure: str) -> Faulty:
        mark = event.start_mark
        return self._faults.add(packed(mark.line + 1, mark.column + 1), self._path(), what, cure)
