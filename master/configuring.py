"""From a configuration to scheduler objects: plugins, classes, constructors, and every fault in them at its place."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, cast

from ..config import PROPERTY_REFERENCE, Entry, Fault, MasterConfig, Plugin, Secret, json_schema, suggest, with_digest
from ..db.urls import DatabaseUrl
from ..schedulers import basic, cancellers, dependent, force, timed, triggerable
from ..schedulers.base import BaseScheduler, Clustered
from ..schedulers.calendar import CALENDAR, Calendar
from ..schedulers.comparing import compared
from ..schedulers.hooks import hook_fault
from ..schedulers.interface import NotActive, SchedulerFault
from ..schedulers.slips import slip
from .sources.base import ChangeSource
from .sources.git import GitPoller
from .try_jobdir import Try_Jobdir
from .try_userpass import Try_Userpass

GROUP = "locum.schedulers"
_CALENDARS_NAME = f"{CALENDAR!r} is the name of the scheduler that serves stored schedules; choose another, or set cluster.calendar: false"
STANDARD: Mapping[str, type[Clustered]] = {
    cls.__name__: cls
    for cls in (
        *(basic.SingleBranchScheduler, basic.AnyBranchScheduler, timed.Periodic, timed.Nightly),
        *(dependent.Dependent, triggerable.Triggerable, triggerable.NightlyTriggerable),
        force.ForceScheduler,
        *(Try_Jobdir, Try_Userpass),
        *(cancellers.OldBuildCanceller, cancellers.FailingBuildsetCanceller),
        GitPoller,
    )
}
_KINDS = {"scheduler": (BaseScheduler, "schedulers"), "change_source": (ChangeSource, "change_sources")}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A scheduler or change source as configured: its class, and ``make()`` for a new instance."""

    kind: str
    name: str
    digest: str
    cls: type[Clustered]
    arguments: Mapping[str, Any] = field(repr=False)

    @property
    def type(self) -> str:
        """The class as it is shown."""
        return self.cls.__name__

    def make(self) -> Clustered:
        """A new instance; whatever its constructor raises goes through, except that it cannot end this process."""
        try:
            return self.cls(**self.arguments)
        except SystemExit as error:
            raise RuntimeError(f"its constructor calls sys.exit({error.code!r})") from None


class Catalogue:
    """The classes that a configuration may name: the standard ones, installed packages', and its plugins'."""

    def __init__(self) -> None:
        self._modules: dict[str, ModuleType] = {}
        self._digests: dict[str, str] = {}

    def add(self, plugin: Plugin) -> Fault | None:
        """Import a plugin (once in the life of this process); a fault if that fails."""
        name = _module_name(plugin)
        if name in self._modules:
            return None
        try:
            module = _import_file(name, str(plugin.path)) if plugin.is_file else importlib.import_module(name)
        except BaseException as error:  # a plugin may raise anything, SystemExit too
            if isinstance(error, KeyboardInterrupt):
                raise
            line = _line_in(error, str(plugin.path or ""))
            what = f"importing it failed{line}: {type(error).__name__}: {error}"
            return Fault(plugin.place, "plugins", what, "mend the plugin, or take it off the list")
        self._modules[name] = module
        self._digests[name] = plugin.digest
        return None

    def restart_needed(self, config: MasterConfig) -> list[str]:
        """Plugin files of which this process has imported something else: Python is not reloaded."""
        pairs = zip(config.plugins, self._imported(config), strict=True)
        return [given.target for given, imported in pairs if given != imported]

    def as_imported(self, config: MasterConfig) -> MasterConfig:
        """What this process does under that configuration: its plugins are those that were imported.

        So a master that still runs the former code is seen to differ from those that were started with the new one.
        """
        plugins = self._imported(config)
        return config if plugins == config.plugins else with_digest(replace(config, plugins=plugins))

    def _imported(self, config: MasterConfig) -> tuple[Plugin, ...]:
        return tuple(replace(p, digest=self._digests.get(_module_name(p), p.digest)) for p in config.plugins)

    def find(self, type_name: str, kind: str) -> type[Clustered] | str:
        """The class of that name; or a sentence that says why there is none."""
        base, section = _KINDS[kind]
        found: Any = STANDARD.get(type_name)
        if found is None and "." in type_name:
            module_name, _, class_name = type_name.rpartition(".")
            module = self._modules.get(module_name)
            if module is None:
                known = [f"{name}.{cls}" for name, m in self._modules.items() for cls in _classes(m, base)]
                meant = suggest(type_name, known)
                hint = f"did you mean {meant!r}?" if meant else "list its file or module under 'plugins:'"
                return f"there is no plugin {module_name!r}; {hint}"
            found = getattr(module, class_name, None)
            if found is None:
                meant = suggest(class_name, _classes(module, base))
                return f"plugin {module_name!r} has no class {class_name!r}" + (
                    f"; did you mean {module_name}.{meant}?" if meant else ""
                )
        elif found is None:
            point = _entry_points().get(type_name)
            if point is not None:
                try:
                    found = point.load()
                except Exception as error:
                    return f"the installed package's {point.value} cannot be imported: {type(error).__name__}: {error}"
        if found is None:
            names = [n for n, cls in STANDARD.items() if issubclass(cls, base)] + sorted(_entry_points())
            meant = suggest(type_name, names)
            known_names = ", ".join(dict.fromkeys(names))
            return f"unknown type {type_name!r}; " + (
                f"did you mean {meant!r}?" if meant else f"known are {known_names}"
            )
        if not (isinstance(found, type) and issubclass(found, base)):
            return f"{type_name} is not a subclass of {base.__name__}, so it cannot stand under {section!r}"
        return cast("type[Clustered]", found)


def wanted(config: MasterConfig, catalogue: Catalogue) -> tuple[list[Wanted], list[Fault]]:
    """Everything that the configuration asks for, and all that is wrong with it, classes included. Constructors are not
    called."""
    faults = [fault for plugin in config.plugins if (fault := catalogue.add(plugin)) is not None]
    found: list[Wanted] = []
    for kind, entries in (("change_source", config.change_sources), ("scheduler", config.schedulers)):
        for entry in entries:
            cls = catalogue.find(entry.type, kind)
            if isinstance(cls, str):
                if not (faults and "." in entry.type and "no plugin" in cls):  # its plugin's own fault says it already
                    faults.append(entry.fault("type", cls))
                continue
            if kind == "scheduler" and entry.name == CALENDAR and config.cluster.calendar:
                faults.append(entry.fault("name", _CALENDARS_NAME))
                continue
            of_class: Any = cls  # to mypy a class whose base is untyped is not hashable
            slips = [entry.fault("type", what) for what in (hook_fault(of_class) or slip(of_class),) if what]
            unknown = list(_unknown_arguments(cls, entry))
            faults += [*slips, *unknown]
            if not slips and not unknown:
                found.append(Wanted(kind, entry.name, entry.digest, cls, entry.arguments))
    return found, faults


def built_in(config: MasterConfig) -> list[Wanted]:
    """What is there without being in the file: the calendar, which serves stored schedules."""
    if not config.cluster.calendar:
        return []
    return [Wanted("scheduler", CALENDAR, "built-in", Calendar, {"name": CALENDAR})]


def check(config: MasterConfig) -> list[Fault]:
    """All faults that show only when plugins are imported and constructors are called."""
    found, faults = wanted(config, Catalogue())
    faults += _url_faults(config)
    entries = entries_of(config)
    # Two of one name are a fault already; each is told what is wrong with itself.
    places = {(e.name, e.digest): e for e in (*config.change_sources, *config.schedulers)}
    made: dict[tuple[str, str], Clustered] = {}
    for one in found:
        fault = constructor_fault(one, places[one.name, one.digest])
        if fault is not None:
            faults.append(fault)
        else:
            made[one.kind, one.name] = one.make()
    if len(made) == len(entries):  # else those that are missing would be said to be so as well
        faults += faults_among(config, made)
    return sorted(faults, key=lambda f: (f.place.line, f.place.column))


def _url_faults(config: MasterConfig) -> list[Fault]:
    """What only the database's driver knows to be wrong with its URL."""
    url = config.database.url
    try:
        DatabaseUrl.parse(url.reveal() if isinstance(url, Secret) else url, config.base_dir)
    except ValueError as error:
        return [Fault(config.database.url_place, "database.url", str(error))]
    return []


def entries_of(config: MasterConfig) -> dict[tuple[str, str], Entry]:
    """Schedulers and change sources as configured, by kind and name."""
    entries = {("scheduler", entry.name): entry for entry in config.schedulers}
    return entries | {("change_source", entry.name): entry for entry in config.change_sources}


def faults_among(config: MasterConfig, made: Mapping[tuple[str, str], Clustered]) -> list[Fault]:
    """What is wrong with schedulers, change sources and steps only in the company of the others."""
    entries = entries_of(config)
    builders = {builder.name for builder in config.builders}
    schedulers = {name: instance for (kind, name), instance in made.items() if kind == "scheduler"}
    faults = []
    for key, instance in made.items():
        try:
            faults += [
                entries[key].fault(argument, what) for argument, what in instance.faultsAmong(schedulers, builders)
            ]
        except Exception as error:  # a plugin's: it must not hide what else is wrong
            what = f"{type(instance).__name__}.faultsAmong failed: {type(error).__name__}: {error}"
            faults.append(entries[key].fault("type", what))
    for builder in config.builders:
        for number, step in enumerate(builder.steps):
            for name in (*step.schedulerNames, *step.unimportantSchedulerNames):
                what = _cannot_be_triggered(name, schedulers)
                if what:
                    faults.append(Fault(builder.place, f"builder {builder.name!r}, step {number}", what, ""))
    return faults


def _cannot_be_triggered(name: str, schedulers: Mapping[str, Clustered]) -> str:
    scheduler = schedulers.get(name)
    if PROPERTY_REFERENCE.search(name) or callable(getattr(scheduler, "trigger", None)):
        return ""
    if scheduler is None:
        meant = suggest(name, schedulers)
        return f"there is no scheduler {name!r} to trigger" + (f"; did you mean {meant!r}?" if meant else "")
    return f"{name!r} is a {type(scheduler).__name__}; only Triggerable and NightlyTriggerable can be triggered"


def schema() -> dict[str, Any]:
    """The file's JSON Schema, with what each of our own classes takes; other classes' keys are anything."""
    found = json_schema()
    for kind, section in (("scheduler", "schedulers"), ("change_source", "change_sources")):
        entry = found["properties"][section]["anyOf"][0]["items"]
        entry["properties"]["type"]["examples"] = [n for n, cls in STANDARD.items() if issubclass(cls, _KINDS[kind][0])]
        entry["allOf"] = [_schema_of(name) for name in entry["properties"]["type"]["examples"]]
    return found


def _schema_of(name: str) -> dict[str, Any]:
    cls: Any = STANDARD[name]  # to mypy a class whose base is untyped is not hashable
    names, required, _ = parameters(cls)
    doc = inspect.getdoc(cls) or ""
    takes = {
        "description": " ".join(doc.partition("\n\n")[0].split()),
        "properties": {key: True for key in ("type", *sorted(names))},
        "required": ["type", *sorted(required)],
        "additionalProperties": False,
    }
    return {"if": {"properties": {"type": {"const": name}}, "required": ["type"]}, "then": takes}


def constructor_fault(one: Wanted, entry: Entry) -> Fault | None:
    """What its constructor or its ``compare_attrs`` have against being used; None: nothing."""
    try:
        compared(one.make())
    except SchedulerFault as error:
        return entry.fault("type", str(error))
    except NotActive as error:
        return entry.fault("type", f"its constructor asks its master for something: {error}; do it in activate")
    except Exception as error:
        text = str(error) or type(error).__name__
        key, colon, rest = text.partition(":")
        if colon and key.strip() in entry.arguments and isinstance(error, (ValueError, TypeError)):
            return entry.fault(key.strip(), rest.strip())
        prefix = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        return entry.fault("", f"{one.type} refuses its arguments: {prefix}{text}")
    return None


@cache
def parameters(cls: Any) -> tuple[frozenset[str], frozenset[str], bool]:
    """(names a constructor takes, through all its bases as long as each passes ``**kwargs`` on; the required ones of
    them; whether anything at all is taken)."""
    names: set[str] = set()
    required: set[str] = set()
    for base in cls.__mro__:
        if base is Clustered:
            return frozenset(names | {"name"}), frozenset(required | {"name"}), False
        if "__init__" not in base.__dict__:
            continue
        passes_on = False
        for parameter in list(inspect.signature(base.__dict__["__init__"]).parameters.values())[1:]:
            if parameter.kind is parameter.VAR_KEYWORD:
                passes_on = True
            elif parameter.kind is not parameter.VAR_POSITIONAL:
                if parameter.default is parameter.empty and parameter.name not in names:
                    required.add(parameter.name)
                names.add(parameter.name)
        if not passes_on:
            return frozenset(names), frozenset(required), False
    return frozenset(names), frozenset(required), True


def _unknown_arguments(cls: type[Clustered], entry: Entry) -> Iterator[Fault]:
    constructor: Any = cls
    names, required, anything = parameters(constructor)
    if not anything:
        for key in entry.arguments:
            if key not in names:
                meant = suggest(key, names)
                cure = f"did you mean {meant!r}?" if meant else f"{cls.__name__} takes {', '.join(sorted(names))}"
                yield entry.fault(key, "unknown key", cure, at_key=True)
    for key in sorted(required - set(entry.arguments)):
        if _misses(constructor, entry.arguments, key):
            yield entry.fault("", f"the key '{key}' is missing", f"{cls.__name__} requires it")


def _misses(constructor: Any, arguments: Mapping[str, Any], key: str) -> bool:
    """Whether it cannot do without ``key``: a class may give its base what that requires."""
    first = next(base for base in constructor.__mro__ if "__init__" in base.__dict__)
    if key in inspect.signature(first.__dict__["__init__"]).parameters:
        return True
    try:
        constructor(**arguments)
    except TypeError as error:
        return f"{key!r}" in str(error)
    except Exception:  # whatever else it has against its arguments is told in its turn
        return False
    return False


@cache
def _entry_points() -> Mapping[str, Any]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _classes(module: ModuleType, base: type) -> list[str]:
    return [
        n
        for n, v in vars(module).items()
        if isinstance(v, type) and issubclass(v, base) and v.__module__ == module.__name__
    ]


def _module_name(plugin: Plugin) -> str:
    return plugin.path.stem if plugin.path is not None else plugin.target


def _import_file(name: str, path: str) -> ModuleType:
    if name in sys.modules and getattr(sys.modules[name], "__file__", None) != path:
        raise ImportError(f"a module named {name!r} is imported already; rename the file")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _line_in(error: BaseException, path: str) -> str:
    if isinstance(error, SyntaxError):
        return f" (line {error.lineno})"
    trace = error.__traceback__
    line = None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f" (line {line})" if line else ""
