"""Properties as commands see them: in arguments, each staying one argument, and in the environment. Never shell text.

Values are strangers' text (branch names, authors). Whatever they hold, they are data to the command that gets them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

LONGEST_VALUE = 128 * 1024 - 4096
"""Bytes of one environment variable; Linux takes 128 kB for one string, name included."""
LONGEST_ENVIRONMENT = 1024 * 1024
"""Bytes of all properties together; Linux takes a quarter of the stack's limit for arguments and environment."""

_REFERENCE = re.compile(r"%%|%\(prop:([A-Za-z_][A-Za-z0-9_.-]*?)(?::-([^)]*))?\)s")


class UnknownProperty(Exception):
    """A command names a property that the task does not have; the text is a sentence for people."""


def as_text(value: Any) -> str:
    """A property's value as a command gets it: text as it is, nothing for null, ``true``/``false``, else JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def render(text: str, properties: Mapping[str, Any]) -> str:
    """``text`` with ``%(prop:NAME)s`` and ``%(prop:NAME:-DEFAULT)s`` replaced, and ``%%`` by ``%``.

    What was put in is not looked at again. UnknownProperty: there is neither a value nor a default.
    """

    def value(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%"
        name, default = found[1], found[2]
        if name in properties:
            return as_text(properties[name])
        if default is None:
            raise UnknownProperty(
                f"the command needs the property '{name}', which this task does not have;"
                f" give it to the buildset, or write %(prop:{name}:-DEFAULT)s"
            )
        return str(default)

    return _REFERENCE.sub(value, text)


def render_command(command: tuple[str, ...] | str, properties: Mapping[str, Any]) -> list[str]:
    """The arguments to run; a str is a line for ``sh`` and gets no properties but through its environment."""
    if isinstance(command, str):
        return ["/bin/sh", "-c", command]
    return [render(word, properties) for word in command]


def environment(properties: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """``LOCUM_PROP_<NAME>`` for each property, and a note for each that is left out."""
    made: dict[str, str] = {}
    notes: list[str] = []
    size = 0
    for name, value in sorted(properties.items()):
        variable = "LOCUM_PROP_" + re.sub("[^A-Z0-9]", "_", name.upper())
        text = as_text(value)
        fault = _unfit(text) or ("another property has the same name there" if variable in made else "")
        size += len(text)
        if not fault and size > LONGEST_ENVIRONMENT:
            fault = "all properties together are too long"
        if fault:
            notes.append(f"property {json.dumps(name[:100])} is not in the environment: {fault}")
        else:
            made[variable] = text
    return made, notes


def first_unfit(arguments: Iterable[str]) -> str:
    """Why the system cannot take one of these arguments; '' if it can."""
    for place, argument in enumerate(arguments):
        if fault := _unfit(argument):
            return f"argument {place} cannot be passed to a command: {fault}"
    return ""


def _unfit(text: str) -> str:
    if "\0" in text:
        return "it holds a NUL"
    try:
        size = len(text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    return f"it has {size} bytes, more than {LONGEST_VALUE}" if size > LONGEST_VALUE else ""
