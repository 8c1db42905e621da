"""Schedulers of a Buildbot configuration as entries of the YAML."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..configuring import STANDARD, parameters
from .values import CannotTurn, class_of, default_of, kind_of, plain, template

_POSITIONS: Mapping[str, tuple[str, ...]] = {
    "Scheduler": ("name", "branch", "treeStableTimer", "builderNames", "fileIsImportant"),
    "Dependent": ("name", "upstream", "builderNames"),
    "Periodic": ("name", "builderNames", "periodicBuildTimer"),
    "Try_Jobdir": ("name", "builderNames", "jobdir"),
    "Try_Userpass": ("name", "builderNames", "port", "userpass"),
    "OldBuildCanceller": ("name", "filters"),
    "FailingBuildsetCanceller": ("name", "filters"),
}
_RENDERED = ("Property", "Interpolate", "WithProperties", "renderer", "Transform", "FlattenList")
_OLDER = {"Scheduler": "SingleBranchScheduler"}
_TIMES = ("minute", "hour", "dayOfMonth", "month", "dayOfWeek")
_FORCED = ("force_at_minute", "force_at_hour", "force_at_day_of_month", "force_at_month", "force_at_day_of_week")
DECIDES = (
    *("name", "builderNames", "filters", "upstream", "codebases"),
    *("change_filter", "branch", "branches", "categories", "fileIsImportant", "onlyImportant"),
    *("periodicBuildTimer", "onlyIfChanged", *_TIMES, *_FORCED),
)
"""Without one of these a scheduler would ask for other work than it does."""
MODULES = {
    **dict.fromkeys(("SingleBranchScheduler", "AnyBranchScheduler"), "basic"),
    **dict.fromkeys(("Periodic", "Nightly", "NightlyTriggerable"), "timed"),
    **{"Dependent": "dependent", "Triggerable": "triggerable", "ForceScheduler": "forcesched"},
}


@dataclass(slots=True)
class Turned:
    """An entry; ``left`` are arguments that are not in it: name -> why. ``out``: why it is no entry at all."""

    entry: dict[str, Any]
    left: dict[str, CannotTurn] = field(default_factory=dict)
    out: CannotTurn | None = None
    functions: dict[str, Any] = field(default_factory=dict)
    """argument -> what is to be a plugin's"""


def turned(call: Mapping[str, Any]) -> Turned:
    """The entry of a scheduler that was made."""
    name = class_of(call)
    if call["own"] is not None:
        given = dict(zip(call["own"]["takes"], call["args"], strict=False)) | call["kwargs"]
        made = _arguments("", given, None)
        kind = call["own"]["name"]
        made.entry = {"type": f"my_schedulers.{kind}", "name": call["name"], **made.entry}
        made.out = CannotTurn(f"{kind} is a class of your own", "make it a plugin (see the end of the YAML)")
        return made
    kind = _OLDER.get(name, name)
    cls: Any = STANDARD.get(kind)
    if cls is None or kind == "GitPoller":
        return Turned({}, out=CannotTurn(f"there is no {name or 'such scheduler'} here", "see docs/from-buildbot.md"))
    given = dict(zip(_POSITIONS.get(name, ("name", "builderNames")), call["args"], strict=False)) | call["kwargs"]
    if kind == "Try_Userpass":
        given = {key: value for key, value in given.items() if key not in ("port", "userpass")}
    if kind == "ForceScheduler":
        given = _older_form(given)
    made = _arguments(kind, given, parameters(cls)[0])
    made.entry = {"type": kind, **made.entry}
    decisive = [key for key in made.left if key in DECIDES]
    if decisive:
        made.out = made.left[decisive[0]]
        made.out.what = f"{decisive[0]}: {made.out.what}"
    if kind == "Try_Userpass":
        cure = "'locum try' needs neither; for HTTP, write both, with passwords as secrets"
        made.left["port, userpass"] = CannotTurn("passwords are not copied", cure)
    return made


def _arguments(kind: str, given: Mapping[str, Any], known: frozenset[str] | None) -> Turned:
    made = Turned({})
    for key, value in given.items():
        if known is not None and key not in known:
            made.left[key] = CannotTurn(f"{kind} has no such argument here", "it is left out")
            continue
        if (kind, key) == ("ForceScheduler", "properties") and isinstance(value, list):
            made.entry[key] = _fields(value, made.left)
            continue
        if key == "properties" and isinstance(value, dict) and kind_of(value) in ("", "dict"):
            _properties(value, made)
            continue
        try:
            read = _READ.get(key, plain)
            made.entry[key] = read(value) if (kind, key) not in _READ_OF else _READ_OF[kind, key](value)
        except CannotTurn as why:
            made.left[key] = why
            if why.function is not None:
                made.functions[key] = value
    return made


def _properties(value: Mapping[str, Any], made: Turned) -> None:
    """Each by itself: one that cannot be turned takes no other along."""
    kept, left, function = each_of(value, template)
    made.left |= {f"properties: {name!r} is left out": why for name, why in left.items()}
    if function:
        made.functions["properties"] = value
    if kept or not left:
        made.entry["properties"] = kept


def each_of(value: Mapping[str, Any], read: Callable[[Any], Any]) -> tuple[dict[str, Any], dict[str, CannotTurn], bool]:
    """A mapping's values that can be turned, why each other cannot, and whether a function is among those."""
    kept: dict[str, Any] = {}
    left: dict[str, CannotTurn] = {}
    for key, one in value["items"] if kind_of(value) == "dict" else value.items():
        name = str(key)
        try:
            kept[str(plain(key))] = read(one)
        except CannotTurn as why:
            left[name] = why
    return kept, left, any(why.function is not None for why in left.values())


def _filter(value: Any) -> Any:
    if class_of(value) not in ("ChangeFilter", "SourceStampFilter") or value["own"] is not None:
        return plain(value)
    given = dict(zip(("filter_fn",), value["args"], strict=False)) | value["kwargs"]
    return {key: plain(one) for key, one in given.items() if one is not None or key.startswith("branch")}


def _name_of(value: Any) -> Any:
    return value["name"] if class_of(value) and isinstance(value["name"], str) else plain(value)


def _builders(value: Any) -> Any:
    if isinstance(value, list):
        return [template(one) if class_of(one) in _RENDERED else template(_name_of(one)) for one in value]
    if class_of(value) == "Property" and default_of(value) is not None:
        what = "a Property of names with a default has no form in the YAML"
        raise CannotTurn(what, "name the builders, or make it a plugin's")
    return template(value)


def _priority(value: Any) -> Any:
    default = default_of(value) if class_of(value) == "Property" else None
    if isinstance(default, int) and not isinstance(default, bool):  # the one place where a text is read as a number
        value = {**value, "args": value["args"][:1], "kwargs": {**value["kwargs"], "default": str(default)}}
    return template(value)


def _rules(*keys: str) -> Callable[[Any], Any]:
    """The ``filters`` of a canceller, each a tuple of these."""

    def read(value: Any) -> Any:
        if not isinstance(value, list):
            return plain(value)
        rules = (dict(zip(keys, one, strict=False)) if isinstance(one, list) else one for one in value)
        return [{key: _filter(part) for key, part in rule.items()} for rule in rules]

    return read


def _codebases(value: Any) -> Any:
    """Buildbot's may have a project too."""
    found = plain(value)
    if isinstance(found, dict):
        for defaults in found.values():
            if isinstance(defaults, dict) and not defaults.get("project"):
                defaults.pop("project", None)
    return found


def _parameter(value: Any) -> Any:
    if class_of(value) and value["own"] is None:
        kind = class_of(value).removesuffix("Parameter")
        order = ("codebase",) if kind == "Codebase" else ("name",)
        given = dict(zip(order, value["args"], strict=False)) | value["kwargs"]
        return {"type": kind, **{key: _part(key, one) for key, one in given.items()}}
    return plain(value)


def _fields(given: list[Any], left: dict[str, CannotTurn]) -> list[Any]:
    """The fields of a form, without those that have no form in the YAML."""
    found = []
    for number, one in enumerate(given):
        call = one if class_of(one) else {"args": (), "kwargs": {}}
        nested = call["kwargs"].get("fields")
        if isinstance(nested, list):
            kept = _fields(nested, left)
            one = {**one, "kwargs": {key: part for key, part in call["kwargs"].items() if key != "fields"}}
        try:
            if class_of(one) == "InheritBuildParameter":
                raise CannotTurn("there is no page of a build to begin at", "leave it out")
            field = _parameter(one)
        except CannotTurn as why:
            name = (dict(zip(("name",), call["args"], strict=False)) | call["kwargs"]).get("name", number)
            left[f"properties: field {name!r} is left out"] = why
            continue
        found.append({**field, "fields": kept} if isinstance(nested, list) else field)
    return found


def _part(key: str, value: Any) -> Any:
    if key == "fields" and isinstance(value, list):
        return [_parameter(one) for one in value]
    return _parameter(value)


def _form(value: Any) -> Any:
    return [_parameter(one) for one in value] if isinstance(value, list) else plain(value)


def _older_form(given: Mapping[str, Any]) -> dict[str, Any]:
    """``branch``, ``revision`` and so on of the form beside its codebases, as before Buildbot 0.9."""
    parts = ("branch", "revision", "repository", "project")
    if "codebases" in given or not any(part in given for part in parts):
        return dict(given)
    fields = {part: given[part] for part in parts if part in given}
    for part, one in fields.items():
        if kind_of(one) == "call":
            fields[part] = {**one, "args": [], "kwargs": {**one["kwargs"], "name": part}}
    codebase = {"$": "call", "class": "CodebaseParameter", "own": None, "args": [""], "kwargs": fields}
    return {**{key: one for key, one in given.items() if key not in parts}, "codebases": [codebase]}


_READ: Mapping[str, Callable[[Any], Any]] = {
    "change_filter": _filter,
    "upstream": _name_of,
    "builderNames": _builders,
    "priority": _priority,
    "codebases": _codebases,
}
_READ_OF: Mapping[tuple[str, str], Callable[[Any], Any]] = {
    ("ForceScheduler", "codebases"): _form,
    ("ForceScheduler", "reason"): _parameter,
    ("ForceScheduler", "username"): _parameter,
    ("ForceScheduler", "priority"): _parameter,
    ("OldBuildCanceller", "filters"): _rules("builders", "filter"),
    ("FailingBuildsetCanceller", "filters"): _rules("builders", "builders_to_cancel", "filter"),
}
