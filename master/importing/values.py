"""From what was written down of a Buildbot configuration to plain values, fit for the YAML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_PROPERTY = re.compile(r"%\(prop:([A-Za-z_][A-Za-z0-9_.-]*)(?::-([^)]*))?\)s")
_SIMPLE = re.compile(r"(?:%\(prop:[A-Za-z_][A-Za-z0-9_.-]*(?::-[^)]*)?\)s|[^%])*")
_FLAGS = {re.IGNORECASE: "i", re.MULTILINE: "m", re.DOTALL: "s", re.VERBOSE: "x"}


class CannotTurn(Exception):
    """A value has no form in the YAML: why, and what to do. ``function``: it is this function."""

    def __init__(self, what: str, cure: str = "", function: Mapping[str, Any] | None = None) -> None:
        super().__init__(what)
        self.what, self.cure, self.function = what, cure, function


def kind_of(value: Any) -> str:
    """``call``, ``function``, ``unknown``, ``re``, ``dict`` or ``other``; '' for what is plain."""
    return str(value["$"]) if isinstance(value, dict) and "$" in value else ""


def class_of(value: Any) -> str:
    """Of what Buildbot class it is; '' for anything else."""
    return str(value["class"]) if kind_of(value) == "call" else ""


def plain(value: Any) -> Any:
    """The value as the YAML has it. CannotTurn."""
    match kind_of(value):
        case "":
            if isinstance(value, list):
                return [plain(one) for one in value]
            if isinstance(value, dict):
                return {key: plain(one) for key, one in value.items()}
            return value
        case "dict":
            return {str(plain(key)): plain(one) for key, one in value["items"]}
        case "re":
            flags = "".join(letter for flag, letter in _FLAGS.items() if value["flags"] & flag)
            return f"(?{flags}){value['pattern']}" if flags else value["pattern"]
        case "call":
            return _rendered(value)
        case "function":
            what = "a function" if value["name"] == "<lambda>" else f"the function {value['name']}"
            raise CannotTurn(f"{what} has no form in the YAML", "make it a plugin's", value)
        case "unknown":
            raise CannotTurn(f"{value['what']} is not known here", "write the value yourself")
    raise CannotTurn(f"{value.get('repr', 'a value')} has no form in the YAML", "write it yourself")


def _rendered(value: Mapping[str, Any]) -> str:
    """A text with properties in it, of those of Buildbot's renderables that are no more than that."""
    name, args, kwargs = class_of(value), value["args"], value["kwargs"]
    if name == "renderer" and args:
        plain(args[0])  # which is a function, and says so
    if name == "Property" and (args or "key" in kwargs):
        key, default = args[0] if args else kwargs["key"], kwargs.get("default", args[1] if len(args) > 1 else None)
        return f"%(prop:{key})s" if default is None else f"%(prop:{key}:-{plain(default)})s"
    if name == "Interpolate" and len(args) == 1 and not kwargs and isinstance(args[0], str):
        text = args[0].replace("%%", "%")
        if _SIMPLE.fullmatch(text):
            return text
    raise CannotTurn(f"{name or 'this object'} of Buildbot's has no form in the YAML", "make it a plugin's")
