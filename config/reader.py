"""What one reading of a file shares: its faults, its environment, and the meaning of any node as a plain value."""

from __future__ import annotations

import stat
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from .faults import FaultList, Faulty, shown
from .scalars import Ambiguous, ScalarValue, Unresolved, interpolate, resolve
from .secret import Secret
from .tree import LARGEST_FILE, Node, Scalar, Sequence
from .tree import Mapping as MappingNode

LARGEST_SECRET = 64 * 1024
MOST_REFERENCES = 1_000

_T = TypeVar("_T")


class Reader:
    """Reads nodes; whatever is wrong is recorded in ``faults`` and then raised as Faulty."""

    def __init__(self, faults: FaultList, environ: Mapping[str, str], base_dir: Path) -> None:
        self.faults = faults
        self.base_dir = base_dir
        self._environ = environ
        self._interpolated = 0
        self._secrets: dict[tuple[str, str], str] = {}

    def fault(self, node: Node | int, path: str, what: str, cure: str = "") -> Faulty:
        """Record a fault at a node or a position; the answer is to be raised by whoever cannot go on."""
        return self.faults.add(node if isinstance(node, int) else node.at, path, what, cure)

    def unknown(self, at: int, path: str, what: str, word: str, known: Collection[str]) -> Faulty:
        """Record that ``word`` is none of the ``known``, with "did you mean"."""
        cure = self.faults.suggest(word, known)
        if not cure and 0 < len(known) <= 12:
            cure = "known: " + ", ".join(known)
        return self.faults.add(at, path, what, cure)

    def expected(self, node: Node, path: str, wanted: str, cure: str = "") -> Faulty:
        """Record that something else than ``wanted`` stands there."""
        value = self.scalar(node, path) if isinstance(node, Scalar) else None
        return self.fault(node, path, f"expected {wanted}, got {describe(node, value)}", cure)

    def text(self, node: Scalar, path: str) -> str:
        """The scalar's text with ``${...}`` replaced, whatever it looks like."""
        if "$" not in node.text:
            return node.text
        if node.text.count("${") > MOST_REFERENCES:
            raise self.fault(node, path, f"more than {MOST_REFERENCES} variables in one text")
        try:
            text = interpolate(node.text, self._environ)
        except Unresolved as error:
            raise self.fault(node, path, *error.args) from None
        self._interpolated += len(text)
        if self._interpolated > LARGEST_FILE:
            raise self.fault(node, path, f"variables make the configuration larger than {LARGEST_FILE >> 20} MB")
        return text

    def scalar(self, node: Scalar, path: str) -> ScalarValue:
        """The scalar's value: without quotes a number, a bool, null or text; with quotes text."""
        text = self.text(node, path)
        return self._resolved(node, text, path) if node.plain else text

    def number(self, node: Scalar, path: str) -> ScalarValue:
        """As ``scalar``, where a number is wanted: ``"${N}"`` must have quotes inside braces and is one all the same."""
        text = self.text(node, path)
        return self._resolved(node, text, path) if node.plain or text != node.text else text

    def _resolved(self, node: Scalar, text: str, path: str) -> ScalarValue:
        try:
            return resolve(text)
        except Ambiguous as error:
            what, cure = error.args
            raise self.fault(node, path, f"{shown(text)}: {what}", cure) from None

    def value(self, node: Node, path: str) -> Any:
        """The plain Python value of a whole node; a ``{secret: ...}`` anywhere becomes a Secret."""
        if isinstance(node, Scalar):
            return self.scalar(node, path)
        if isinstance(node, Sequence):
            return self.each(((item, f"{path}[{index}]") for index, item in enumerate(node.items)), self.value)
        if is_secret(node):
            return self.secret(node, path)
        values = self.each(((item, f"{path}.{key}") for key, (_, item) in node.pairs.items()), self.value)
        return dict(zip(node.pairs, values, strict=True))

    def each(self, nodes: Iterable[tuple[Node, str]], read: Callable[[Node, str], _T]) -> list[_T]:
        """What ``read`` gives for several nodes and paths; all are read before the first one's Faulty is raised."""
        values, faulty = [], None
        for node, path in nodes:
            try:
                values.append(read(node, path))
            except Faulty as fault:
                faulty = faulty or fault
        if faulty:
            raise faulty
        return values

    def secret(self, node: MappingNode, path: str) -> Secret:
        """The Secret that ``{secret: {env: NAME}}`` or ``{secret: {file: PATH}}`` stands for."""
        inner = node.pairs["secret"][1]
        pairs = inner.pairs if isinstance(inner, MappingNode) else {}
        kind, (_, scalar) = next(iter(pairs.items()), ("", (0, inner)))
        if len(pairs) != 1 or kind not in ("env", "file") or not isinstance(scalar, Scalar):
            what = "not a source of a secret"
            raise self.fault(inner, path, what, "write {secret: {env: NAME}} or {secret: {file: PATH}}")
        where = self.text(scalar, path)
        if (kind, where) not in self._secrets:
            read = self._secret_of_variable if kind == "env" else self._secret_file
            self._secrets[kind, where] = read(scalar, path, where)
        if not self._secrets[kind, where]:
            raise self.fault(scalar, path, f"the secret {kind} {shown(where)} is empty")
        return Secret(self._secrets[kind, where])

    def _secret_of_variable(self, node: Scalar, path: str, name: str) -> str:
        value = self._environ.get(name)
        if value is None:
            raise self.fault(node, path, f"the environment variable {shown(name)} is not set")
        return value

    def _secret_file(self, node: Scalar, path: str, name: str) -> str:
        def refuse(why: str) -> NoReturn:
            raise self.fault(node, path, f"the secret file {shown(name)} {why}") from None

        try:
            file = self.base_dir / name
            if not stat.S_ISREG(file.stat().st_mode):
                refuse("is not a file")
            with file.open("rb") as opened:
                data = opened.read(LARGEST_SECRET + 1)
            text = data.decode()
        except (OSError, ValueError) as error:
            refuse(f"cannot be read: {reason(error)}")
        if len(data) > LARGEST_SECRET:
            refuse(f"is larger than {LARGEST_SECRET >> 10} kB")
        if "\0" in text:
            refuse("holds a NUL character")
        return text.removesuffix("\n").removesuffix("\r")


def is_secret(node: Node) -> bool:
    """Whether the node has the form ``{secret: ...}``."""
    return isinstance(node, MappingNode) and len(node.pairs) == 1 and "secret" in node.pairs


def describe(node: Node, value: object = None) -> str:
    """What stands there, for "expected ..., got ...". ``value`` is the value of a scalar."""
    if isinstance(node, Sequence):
        return "a list"
    if isinstance(node, MappingNode):
        return "a mapping"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"{str(value).lower()} (written {shown(node.text)})"
    return shown(value)


def reason(error: Exception) -> str:
    """Why a file could not be used, without its path or contents."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else "not a usable path"
