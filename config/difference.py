"""What differs between two configurations: by name, and setting by setting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain, zip_longest
from typing import Any

from .builders import BuilderSection, StepSection
from .entries import Entry
from .faults import shown
from .loader import MasterConfig, Plugin
from .secret import Secret
from .settings import settings_of

_SETTINGS = ("master", "database", "cluster", "tasks", "log")
_ABSENT = "(not given)"


@dataclass(frozen=True, slots=True)
class ChangedSetting:
    """One value that differs: a dotted ``name`` such as ``cluster.lease``, and the values (a Secret stays one)."""

    name: str
    old: Any
    new: Any

    def __str__(self) -> str:
        if isinstance(self.old, Secret) and isinstance(self.new, Secret):
            return f"{self.name}: a new secret value"
        return f"{self.name}: {_shown(self.old)} -> {_shown(self.new)}"


@dataclass(frozen=True, slots=True)
class NameDifference:
    """The names added, removed and changed in one list, each sorted; ``details`` says what in each changed one."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    details: Mapping[str, tuple[ChangedSetting, ...]] | None = None

    @property
    def empty(self) -> bool:
        return not (self.added or self.removed or self.changed)

    def lines(self, word: str) -> list[str]:
        details = self.details or {}
        return [
            *(f"+ {word} {name}" for name in self.added),
            *(f"- {word} {name}" for name in self.removed),
            *(f"~ {word} {name}: {', '.join(map(str, details.get(name, ())))}" for name in self.changed),
        ]


@dataclass(frozen=True, slots=True)
class Difference:
    """What a reconfiguration has to do; the order of items is no difference."""

    builders: NameDifference
    schedulers: NameDifference
    change_sources: NameDifference
    settings: tuple[ChangedSetting, ...]

    @property
    def empty(self) -> bool:
        return not self.settings and self.builders.empty and self.schedulers.empty and self.change_sources.empty

    def lines(self) -> list[str]:
        """For people: ``+`` added, ``-`` removed, ``~`` changed, from what to what; secrets as ``***``."""
        return [
            *(f"~ {setting}" for setting in self.settings),
            *self.change_sources.lines("change source"),
            *self.builders.lines("builder"),
            *self.schedulers.lines("scheduler"),
        ]


def compare(old: MasterConfig, new: MasterConfig) -> Difference:
    """What differs from ``old`` to ``new``; changed secrets and changed contents of plugin files count."""
    settings = []
    for section in _SETTINGS:
        before, after = getattr(old, section), getattr(new, section)
        kind: type = type(before)
        values = [(name, getattr(before, name), getattr(after, name)) for name in settings_of(kind)]
        settings += [ChangedSetting(f"{section}.{name}", a, b) for name, a, b in values if a != b]
    if old.plugins != new.plugins:
        settings.append(ChangedSetting("plugins", _targets(old.plugins), _targets(new.plugins)))
    return Difference(
        builders=_by_name(old.builders, new.builders),
        schedulers=_by_name(old.schedulers, new.schedulers),
        change_sources=_by_name(old.change_sources, new.change_sources),
        settings=tuple(settings),
    )


def _targets(plugins: Sequence[Plugin]) -> tuple[str, ...]:
    return tuple(f"{plugin.target} ({plugin.digest[:8]})" if plugin.digest else plugin.target for plugin in plugins)


def _by_name(old: Sequence[Entry | BuilderSection], new: Sequence[Entry | BuilderSection]) -> NameDifference:
    before = {item.name: item for item in old}
    after = {item.name: item for item in new}
    changed = [name for name in sorted(before.keys() & after.keys()) if _differ(before[name], after[name])]
    return NameDifference(
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        changed=tuple(changed),
        details={name: _details(_values(before[name]), _values(after[name])) for name in changed},
    )


def _differ(old: Entry | BuilderSection, new: Entry | BuilderSection) -> bool:
    # The digest tells True from 1, which == does not; == tells a changed secret, which the digest does not.
    return old.digest != new.digest or old != new


def _values(item: Entry | BuilderSection) -> dict[str, Any]:
    if isinstance(item, Entry):
        return {"type": item.type, **item.arguments}
    return {field.name: getattr(item, field.name) for field in fields(item) if field.compare and field.name != "digest"}


def _details(old: Mapping[str, Any], new: Mapping[str, Any], within: str = "") -> tuple[ChangedSetting, ...]:
    names = sorted(old.keys() | new.keys())
    found = (_changes(f"{within}{name}", old.get(name, _ABSENT), new.get(name, _ABSENT)) for name in names)
    return tuple(chain.from_iterable(found))


def _changes(name: str, old: Any, new: Any) -> Iterable[ChangedSetting]:
    """What differs inside of a value, by its own name: of a long list people want to see the one thing that is new."""
    if isinstance(old, StepSection) and isinstance(new, StepSection) and old.kind == new.kind:
        old, new = _settings(old), _settings(new)
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return _details(old, new, f"{name}.")
    if _holds_mappings(old) and _holds_mappings(new):
        pairs = enumerate(zip_longest(old, new, fillvalue=_ABSENT))
        return chain.from_iterable(_changes(f"{name}[{index}]", a, b) for index, (a, b) in pairs)
    return [ChangedSetting(name, old, new)] if repr(old) != repr(new) or old != new else []


def _settings(step: StepSection) -> dict[str, Any]:
    return {field.name: getattr(step, field.name) for field in fields(step)}


def _holds_mappings(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(item, (Mapping, StepSection)) for item in value)


def _shown(value: object) -> str:
    if isinstance(value, StepSection):
        return f"{value.kind} step {shown(value.name)}"
    return _ABSENT if value is _ABSENT else shown(value)
