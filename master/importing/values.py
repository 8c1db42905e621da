"""From what was written down of a Buildbot configuration to plain values, fit for the YAML."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_HERE = re.compile(r"%\(prop:[A-Za-z_][A-Za-z0-9_.-]*?(?::-[^)]*)?\)s")
"""What is a reference in the texts of the YAML, which have no sign that keeps one from being replaced."""
_THERE = re.compile(r"%%|%\(prop:[A-Za-z_][A-Za-z0-9_.-]*?(?::-[^%()]*)?\)s|[^%]+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
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
    """The value as the YAML has it, where no property is put into texts. CannotTurn."""
    return _turned(value, lambda text: text, _refused)


def template(value: Any) -> Any:
    """The same where properties are: in a scheduler's ``builderNames``, ``properties`` and ``priority``. CannotTurn."""
    return _turned(value, lambda text: _faithful(text, ()), rendered)


def _turned(value: Any, text: Callable[[str], str], call: Callable[[Mapping[str, Any]], str]) -> Any:
    match kind_of(value):
        case "":
            if isinstance(value, list):
                return [_turned(one, text, call) for one in value]
            if isinstance(value, dict):
                return {key: _turned(one, text, call) for key, one in value.items()}
            return text(value) if isinstance(value, str) else value
        case "dict":
            return {str(plain(key)): _turned(one, text, call) for key, one in value["items"]}
        case "re":
            flags = "".join(letter for flag, letter in _FLAGS.items() if value["flags"] & flag)
            return f"(?{flags}){value['pattern']}" if flags else value["pattern"]
        case "call":
            return call(value)
        case "function":
            what = "a function" if value["name"] == "<lambda>" else f"the function {value['name']}"
            raise CannotTurn(f"{what} has no form in the YAML", "make it a plugin's", value)
        case "unknown":
            raise CannotTurn(f"{value['what']} is not known here", "write the value yourself")
    raise CannotTurn(f"{value.get('repr', 'a value')} has no form in the YAML", "write it yourself")


def _refused(value: Mapping[str, Any]) -> str:
    if class_of(value) == "renderer" and value["args"]:
        plain(value["args"][0])  # which is a function, and says so
    raise CannotTurn(f"{class_of(value) or 'this object'} of Buildbot's has no form in the YAML", "make it a plugin's")


def rendered(value: Mapping[str, Any]) -> str:
    """A text with properties in it, of those of Buildbot's renderables that are no more than that. CannotTurn."""
    name, args, kwargs = class_of(value), value["args"], value["kwargs"]
    if name == "Property" and (args or "key" in kwargs):
        return _reference(args[0] if args else kwargs["key"], default_of(value))
    if name == "Interpolate" and len(args) == 1 and not kwargs and isinstance(args[0], str):
        parts = _THERE.findall(args[0])
        if "".join(parts) == args[0]:
            references = [part for part in parts if part.startswith("%(")]
            return _faithful("".join("%" if part == "%%" else part for part in parts), references)
    return _refused(value)


def default_of(value: Mapping[str, Any]) -> Any:
    """The default of a ``Property``, or None."""
    return value["kwargs"].get("default", value["args"][1] if len(value["args"]) > 1 else None)


def _reference(key: Any, default: Any) -> str:
    if not isinstance(key, str) or not _NAME.fullmatch(key):
        raise CannotTurn(f"a Property named {key!r} has no form in the YAML", "make it a plugin's")
    if default is None:
        return f"%(prop:{key})s"
    if not isinstance(default, str):
        what = f"Property {key!r} has a default that is no text, which has no form in the YAML"
        raise CannotTurn(what, "give the property to every buildset, or make it a plugin's")
    if ")" in default:
        what = f"Property {key!r} has a ')' in its default, which has no form in the YAML"
        raise CannotTurn(what, "take another default, or make it a plugin's")
    return f"%(prop:{key}:-{default})s"


def _faithful(text: str, references: Sequence[str]) -> str:
    """The text, if just these of its parts are replaced when it is used. CannotTurn."""
    wrong = [part for part in _HERE.findall(text) if part not in references]
    if wrong:
        what = f"{text!r} has {wrong[0]!r} as plain text, which would be replaced by a property here"
        raise CannotTurn(what, "write it otherwise, or make it a plugin's")
    return text
