"""A whole Buildbot configuration as a YAML that ``locum check`` accepts, and a list of what is not in it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ...config import ConfigError, Fault, MasterConfig, carries_credentials, is_zone, parse
from ..configuring import check
from .running import Made, Remark
from .schedulers import MODULES, Turned, each_of, turned
from .values import CannotTurn, class_of, kind_of, plain

STEPS_TO_WRITE = "the steps of this builder are still to be written"
_CURES = {
    "builders": "write its steps (docs/tasks.md)",
    "change_sources": "hand changes over with 'locum change add' (docs/changes.md)",
}
_KNOWN = ("schedulers", "builders", "change_source", "collapseRequests")
_CANCELLERS = ("OldBuildCanceller", "FailingBuildsetCanceller")
_OF_WORKERS = ("workers", "slaves", "protocols", "slavePortnum")
_SECTIONS = ("builders", "change_sources", "schedulers")


@dataclass(slots=True)
class Turning:
    """What is written: sections of entries; ``lines`` has for each entry where it came from. ``plugins``: code to move."""

    sections: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {name: [] for name in _SECTIONS})
    lines: dict[int, tuple[str, int]] = field(default_factory=dict)
    remarks: list[Remark] = field(default_factory=list)
    suggested: list[str] = field(default_factory=list)

    def count(self, section: str) -> int:
        """How many entries there are."""
        return len(self.sections[section])


def turn(made: Made, file: str, timezone: str) -> Turning:
    """What the file made, turned. ValueError: the time zone is none."""
    if not is_zone(timezone):
        raise ValueError(f"--timezone: {timezone!r} is not a time zone such as Europe/Berlin")
    turning = Turning(remarks=list(made.remarks))
    collapses = made.config.get("collapseRequests", True)
    for one in _listed(made.config.get("builders")):
        _builder(turning, one, file, collapses)
    for one in _listed(made.config.get("change_source")):
        _source(turning, one, file)
    services = [one for one in _listed(made.config.get("services")) if class_of(one) in _CANCELLERS]
    schedulers = _listed(made.config.get("schedulers")) + services
    for one in schedulers or (made.schedulers if made.error else []):
        _scheduler(turning, one, file)
    turning.remarks += _whole_file(made.config, file, turning, timezone)
    while _drop_faulty(turning, timezone):
        pass
    turning.remarks.sort(key=lambda one: (one.file != file, one.file, one.line == 0, one.line))
    return turning


def _listed(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


# -- builders and change sources ------------------------------------------------------------------------------------------


def _builder(turning: Turning, one: Any, file: str, collapses: Any) -> None:
    place = _place(one, file)
    given = dict(zip(("name",), one["args"], strict=False)) | one["kwargs"] if class_of(one) else one
    if not isinstance(given, dict) or kind_of(given) or not isinstance(given.get("name"), str):
        turning.remarks.append(Remark(*place, "a builder whose name is not known here", "write it yourself"))
        return
    entry: dict[str, Any] = {"name": given["name"]}
    for key, name in (("description", "description"), ("properties", "properties"), ("env", "env")):
        try:
            if isinstance(given.get(key), dict) and kind_of(given[key]) in ("", "dict"):
                kept, left, _ = each_of(given[key], plain)
                entry |= {name: kept} if kept else {}
                turning.remarks += [
                    Remark(*place, f"builder {given['name']!r}: {key}: {one!r} is left out: {why.what}", why.cure)
                    for one, why in left.items()
                ]
            elif given.get(key):
                entry[name] = plain(given[key])
        except CannotTurn as why:
            turning.remarks.append(Remark(*place, f"builder {given['name']!r}: {key}: {why.what}", why.cure))
    own = given.get("collapseRequests")
    wanted = collapses if own is None else own
    if wanted is True:
        entry["collapse_requests"] = True
    elif wanted is not False:
        what = f"builder {given['name']!r}: collapseRequests: a function has no form in the YAML"
        turning.remarks.append(Remark(*place, what, "collapse_requests is true or false"))
    entry["steps"] = [{"shell": f"echo {STEPS_TO_WRITE}; exit 1"}]
    _add(turning, "builders", entry, place)


def _source(turning: Turning, one: Any, file: str) -> None:
    place = _place(one, file)
    if class_of(one) != "GitPoller" or one["own"] is not None:
        what = (one["own"] or {}).get("name") or class_of(one) if class_of(one) else "a change source"
        turning.remarks.append(Remark(*place, f"{what} is not there", _CURES["change_sources"]))
        return
    given = dict(zip(("repourl", "branches"), one["args"], strict=False)) | one["kwargs"]
    repository = given.get("repourl")
    if isinstance(repository, str) and carries_credentials(repository):
        cure = "write it yourself, as {secret: {env: NAME}}"
        turning.remarks.append(Remark(*place, "GitPoller: its repository's URL has a password", cure))
        return
    entry: dict[str, Any] = {"type": "GitPoller", "name": given.get("name") or _short(repository)}
    for key, name in _GIT.items():
        value = given.get(key)
        if value is None or name in entry:
            continue
        try:
            entry[name] = [plain(value)] if key == "branch" else plain(value)
        except CannotTurn as why:
            if name in ("repository", "branches"):
                turning.remarks.append(Remark(*place, f"GitPoller {entry['name']!r}: {key}: {why.what}", why.cure))
                return
            turning.remarks.append(
                Remark(*place, f"GitPoller {entry['name']!r}: {key} is left out: {why.what}", why.cure)
            )
    entry.setdefault("poll_interval", _BUILDBOTS_INTERVAL_S)
    left = sorted(set(given) - set(_GIT) - set(_GIT_NEEDLESS))
    if left:
        what = f"GitPoller {entry['name']!r}: there is no {', '.join(left)} here"
        turning.remarks.append(Remark(*place, what, "see docs/changes.md"))
    _add(turning, "change_sources", entry, place)


_BUILDBOTS_INTERVAL_S = 600
_GIT = {
    "name": "name",
    "repourl": "repository",
    "branches": "branches",
    "branch": "branches",
    "pollInterval": "poll_interval",
    "pollinterval": "poll_interval",
    "category": "category",
    "project": "project",
    "codebase": "codebase",
}
_GIT_NEEDLESS = (
    "workdir",
    "gitbin",
    "usetimestamps",
    "encoding",
    "pollAtLaunch",
    "pollRandomDelayMin",
    "pollRandomDelayMax",
)


def _short(repository: Any) -> str:
    parts = re.split(r"[/:]", repository.rstrip("/")) if isinstance(repository, str) else [""]
    return parts[-1].removesuffix(".git") or "git"


# -- schedulers -----------------------------------------------------------------------------------------------------------


def _scheduler(turning: Turning, one: Any, file: str) -> None:
    place = _place(one, file)
    if not class_of(one):
        turning.remarks.append(Remark(*place, "a scheduler that is not known here", "write it yourself"))
        return
    made = turned(one)
    name = made.entry.get("name", one["name"])
    called = f"{one['own']['name'] if one['own'] else class_of(one)} {name!r}"
    for key, why in made.left.items():
        if made.out is not why:
            turning.remarks.append(Remark(*place, f"{called}: {key}: {why.what}", why.cure))
    if made.out is None:
        _add(turning, "schedulers", made.entry, place)
        return
    if one["own"] and "name" not in {*one["own"]["takes"], *one["kwargs"]}:
        made.out.cure += ", and have its constructor take 'name'"
    suggestion = _suggested(made, one)
    cure = "make it a plugin (see the end of the YAML)" if suggestion and made.functions else made.out.cure
    turning.remarks.append(Remark(*place, f"{called} is left out: {made.out.what}", cure))
    turning.suggested += suggestion


def _suggested(made: Turned, call: Mapping[str, Any]) -> list[str]:
    """Python and YAML for what needs code: a class of the user's own, or functions as arguments."""
    if call["own"] is not None:
        source = call["own"]["source"]
        return [_plugin(_imported(call["own"]) + source, made.entry)] if source else []
    kind = class_of(call)
    module = MODULES.get({"Scheduler": "SingleBranchScheduler"}.get(kind, kind))
    if module is None or not made.functions:
        return []
    name = str(made.entry.get("name", kind))
    cls = "".join(word.capitalize() for word in re.findall(r"[A-Za-z0-9]+", name)) or "Mine"
    cls = cls if cls[0].isalpha() else f"S{cls}"
    sources = "\n\n".join(dict.fromkeys(_sources(made.functions.values())))
    own = ("from buildbot.plugins import util\n", f"from buildbot.schedulers.{module} import {kind}\n")
    imports = _without_twins([*_imports(made.functions.values()), *own])
    arguments = ", ".join(f"{argument}={_python(one)}" for argument, one in made.functions.items())
    to_fill = _TO_FILL if "..." in arguments else ""
    python = (
        f"{imports}\n{sources}\n\n"
        f"class {cls}({kind}):\n    def __init__(self, **kwargs):\n{to_fill}"
        f"        super().__init__({arguments}, **kwargs)"
    )
    entry = {argument: one for argument, one in made.entry.items() if argument not in made.functions}
    return [_plugin(python, {**entry, "type": f"my_schedulers.{cls}"})]


_TO_FILL = "        # each '...' is to be filled in: with the function above, or with what could not be copied\n"


def _without_twins(lines: list[str]) -> str:
    """Lines of imports, without the names that one before has brought."""
    known: set[str] = set()
    kept = []
    for line in lines:
        (statement,) = ast.parse(line).body
        assert isinstance(statement, (ast.Import, ast.ImportFrom))
        statement.names = [name for name in statement.names if (name.asname or name.name) not in known]
        known.update(name.asname or name.name for name in statement.names)
        kept += [f"{ast.unparse(statement)}\n"] if statement.names else []
    return "".join(kept)


def _python(value: Any) -> str:
    """What stands for it in Python; ``...`` for what a person has to fill in."""
    match kind_of(value):
        case "function":
            return "..." if value["name"] == "<lambda>" else str(value["name"])
        case "call" if value["own"] is None and class_of(value) in ("ChangeFilter", "renderer"):
            parts = [_python(one) for one in value["args"]]
            if class_of(value) == "renderer" and _is_decorated(value["args"]):
                return parts[0]
            parts += [f"{name}={_python(one)}" for name, one in value["kwargs"].items()]
            return f"util.{class_of(value)}({', '.join(parts)})"
        case "" if not isinstance(value, dict):
            return repr(value)
    return "..."


def _is_decorated(args: list[Any]) -> bool:
    """Whether the function among a renderer's arguments is one already, by what stands above it."""
    return any(kind_of(one) == "function" and one["source"].startswith("@") for one in args)


def _imported(own: Mapping[str, Any]) -> str:
    imports = own.get("imports", ())
    return "".join(f"{line}\n" for line in imports) + ("\n" if imports else "")


def _imports(values: Any) -> Iterator[str]:
    """The lines that import what the functions in them mention."""
    for value in values:
        if kind_of(value) == "function" and value["name"] != "<lambda>":
            yield from (f"{line}\n" for line in value.get("imports", ()))
        elif isinstance(value, (dict, list)):
            yield from _imports(value.values() if isinstance(value, dict) else value)


def _sources(values: Any) -> Iterator[str]:
    """The source of every function in them."""
    for value in values:
        if kind_of(value) == "function":
            if value["name"] == "<lambda>":
                yield "\n".join(f"# {line}" for line in value["source"].splitlines())
            elif value["source"]:
                yield value["source"]
        elif isinstance(value, dict):
            yield from _sources(value.values())
        elif isinstance(value, list):
            yield from _sources(value)


def _plugin(python: str, entry: Mapping[str, Any]) -> str:
    python = re.sub(r"^(from|import) buildbot\b", r"\1 locum.schedulers.compat", python, flags=re.M)
    return (
        f"my_schedulers.py:\n{python}\n\nin the YAML:\nplugins: [./my_schedulers.py]\nschedulers:\n{_dumped([entry])}"
    )


# -- the whole ------------------------------------------------------------------------------------------------------------


def _whole_file(config: Mapping[str, Any], file: str, turning: Turning, timezone: str) -> Iterator[Remark]:
    if turning.count("builders"):
        yield Remark(
            file, 0, "what builders do is not turned: each fails until its steps are written", _CURES["builders"]
        )
    if any(name in config for name in _OF_WORKERS):
        yield Remark(file, 0, "there are no workers: masters carry tasks out themselves", "start one on each host")
    if any(entry.get("type") == "Nightly" for entry in turning.sections["schedulers"]) and timezone == "UTC":
        what = "Buildbot's Nightly goes by its host's local time, this one by UTC"
        yield Remark(file, 0, what, "give --timezone, or write cluster.timezone")
    other = sorted(set(config) - set(_KNOWN) - set(_OF_WORKERS))
    if other:
        yield Remark(file, 0, f"not looked at: {', '.join(other)}", "see docs/configuration.md for what there is here")


def _place(one: Any, file: str) -> tuple[str, int]:
    return (one["file"] or file, one["line"]) if class_of(one) else (file, 0)


def _add(turning: Turning, section: str, entry: dict[str, Any], place: tuple[str, int]) -> None:
    turning.sections[section].append(entry)
    turning.lines[id(entry)] = place


def _drop_faulty(turning: Turning, timezone: str) -> bool:
    """Take out what ``locum check`` would refuse, with its sentence; whether there was any."""
    faults = _faults(written(turning, timezone))
    bad: dict[tuple[str, int], Fault] = {}
    for fault in faults:
        found = re.match(r"(builders|change_sources|schedulers)\[(\d+)\]", fault.path)
        if found is None:
            raise RuntimeError(f"the YAML is not well: {fault}")
        bad.setdefault((found[1], int(found[2])), fault)
    for (section, number), fault in sorted(bad.items(), reverse=True):
        entry = turning.sections[section].pop(number)
        what = f"{entry.get('type', 'builder')} {entry.get('name')!r} is left out: {fault.what}"
        turning.remarks.append(Remark(*turning.lines[id(entry)], what, fault.cure))
    return bool(bad)


def _faults(text: str) -> list[Fault]:
    try:
        config = parse(text.encode(), "imported.yaml", {}, Path("/"))
    except ConfigError as error:
        more = check(error.partial) if isinstance(error.partial, MasterConfig) else []
        return [*error.faults, *more]
    return check(config)


def written(turning: Turning, timezone: str, header: str = "") -> str:
    """The YAML."""
    parts = [header, "database:\n  url: sqlite:///locum.sqlite\n", f"cluster:\n  timezone: {timezone}\n"]
    parts += [f"{name}:\n{_dumped(entries)}" for name, entries in turning.sections.items() if entries]
    if turning.suggested and header:
        parts.append(
            "# What needs code, as a plugin could have it. Look it through: names that it uses must come along.\n#"
        )
        parts += [
            "".join(f"# {line}\n".replace("# \n", "#\n") for line in one.splitlines()) for one in turning.suggested
        ]
    return "\n".join(part for part in parts if part)


def _dumped(entries: list[Any]) -> str:
    text: str = yaml.safe_dump(
        _escaped(entries), sort_keys=False, default_flow_style=None, allow_unicode=True, width=118
    )
    return "".join(f"  {line}\n" for line in text.splitlines())


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("${", "$${")
    if isinstance(value, list):
        return [_escaped(one) for one in value]
    return {_escaped(key): _escaped(one) for key, one in value.items()} if isinstance(value, dict) else value
