"""What a scalar means: ``${VAR}`` replaced, and text without quotes read as a number, a bool, null or text.

YAML 1.1 as its users know it (``yes``, ``on`` are true), but what surprises is never guessed: times (``12:30``) and
dates stay text, and numbers that YAML 1.1 and 1.2 read differently (``017``, ``1_000``, ``0o17``) are refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TypeAlias

ScalarValue: TypeAlias = str | int | float | bool | None

_WORDS: dict[str, bool | None] = {
    spelling: value
    for word, value in {
        "true": True, "yes": True, "on": True, "false": False, "no": False, "off": False, "null": None,
    }.items()
    for spelling in (word, word.capitalize(), word.upper())
} | {"": None, "~": None}  # fmt: skip

_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_HEXADECIMAL = re.compile(r"[-+]?0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+][0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_AMBIGUOUS = re.compile(
    r"[-+]?(?:0[0-9_]+|[1-9][0-9_]*_[0-9_]*|0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?)"
)
_LARGEST = 2**63 - 1

_REFERENCE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?\}|\$\{")


class Ambiguous(Exception):
    """Text without quotes that does not say plainly what it is; the arguments are what is wrong, and the cure."""


class Unresolved(Exception):
    """A ``${...}`` that cannot be replaced; the arguments are what is wrong, and the cure."""


def resolve(text: str) -> ScalarValue:
    """The value of a scalar that stood without quotes. Raises Ambiguous."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _INTEGER.fullmatch(text) or _HEXADECIMAL.fullmatch(text):
        if len(text) > 20 or abs(number := int(text, 0)) > _LARGEST:
            raise Ambiguous("the number is too large", "quote it if it is text")
        return number
    if _FLOAT.fullmatch(text):
        if not math.isfinite(value := float(text)):
            raise Ambiguous("the number is too large", "quote it if it is text")
        return value
    if _NOT_FINITE.fullmatch(text):
        raise Ambiguous("not a finite number", "quote it if it is text")
    if _AMBIGUOUS.fullmatch(text):
        raise Ambiguous(
            "a number that YAML readers understand differently", "write it in plain digits, or quote it if it is text"
        )
    return text


def interpolate(text: str, environ: Mapping[str, str]) -> str:
    """``text`` with ``${VAR}``, ``${VAR:-default}`` (when unset or empty) and ``$${`` (a literal) replaced.

    What comes from the environment is not looked at again. Raises Unresolved.
    """
    return _REFERENCE.sub(lambda found: _replacement(found, environ), text)


def _replacement(found: re.Match[str], environ: Mapping[str, str]) -> str:
    name, default = found[1], found[2]
    if name is None:
        if found[0] == "$${":
            return "${"
        raise Unresolved("'${' without a variable", "write ${NAME}, ${NAME:-default}, or $${ for a literal ${")
    value = environ.get(name)
    if default is not None and not value:
        return default
    if value is None:
        raise Unresolved(
            f"the environment variable {name} is not set",
            f"set it, or give a default: ${{{name}:-...}}, or $${{ for ${{",
        )
    if "\0" in value or not _encodable(value):
        raise Unresolved(f"the environment variable {name} does not hold UTF-8 text", "")
    return value


def _encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
