"""What a scheduler's entry in the YAML means, worked out apart from the product: which changes it wants, and when it fires."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from locum.config import parse_duration
from locum.schedulers.cron import CronRule

from .checker_rows import Change, Histories

Entry = Mapping[str, Any]

_AT_ONCE = ("plugin.Counting", "plugin.Slow", "plugin.Raising", "plugin.Relaying")
_OF_BRANCH = (*_AT_ONCE, "plugin.Gathering")
_BASIC = ("SingleBranchScheduler", "AnyBranchScheduler", "plugin.Important")
TIMED = ("Periodic", "Nightly", "NightlyTriggerable")
NUMBERED = (*_OF_BRANCH, "plugin.Ticking", "plugin.Background", "plugin.Following")


def consumes(entry: Entry) -> bool:
    """Whether each change that is for it is in one buildset of it."""
    return entry["type"] in (*_BASIC, *_OF_BRANCH) or bool(entry.get("onlyIfChanged"))


def forced_at(entry: Entry, due_us: int) -> bool:
    """Whether it makes a buildset at that due time even if nothing has changed. Minutes only: the same in each zone used."""
    minutes = entry.get("force_at_minute")
    return minutes is not None and (minutes == "*" or due_us // 60_000_000 % 60 in minutes)


def at_once(entry: Entry) -> bool:
    """Whether each change that counts is a buildset of its own."""
    return entry["type"] in _AT_ONCE or (entry["type"] in _BASIC and "treeStableTimer" not in entry)


def wants(entry: Entry, change: Change) -> bool | None:
    """Whether a change is important to a scheduler with this entry; None: it is not for it."""
    kind = entry["type"]
    if kind in _OF_BRANCH:
        return True if entry.get("branch") in (None, change.branch) else None
    if kind == "AnyBranchScheduler":
        passes = ("branches" not in entry or change.branch in entry["branches"]) and _of_category(entry, change)
    elif kind in TIMED:
        passes = change.branch == entry["branch"]
    elif "change_filter" in entry:
        passes = _passes(entry["change_filter"], change)
    else:
        passes = change.branch == entry["branch"] and _of_category(entry, change)
    if not passes:
        return None
    important = kind != "plugin.Important" or any(file.startswith("src/") for file in change.files)
    return None if entry.get("onlyImportant") and not important else important


def is_backfilled(h: Histories, name: str, due: int) -> bool:
    """Whether somebody asked for that due time again, when it was past."""
    return any(order["first"] <= due <= order["last"] for order in h.backfills.get(name, ()))


def _of_category(entry: Entry, change: Change) -> bool:
    return not entry.get("categories") or change.category in entry["categories"]


def _passes(conditions: Mapping[str, Any], change: Change) -> bool:
    return all(_fulfils(condition, wanted, change) for condition, wanted in conditions.items())


def _fulfils(condition: str, wanted: Any, change: Change) -> bool:
    values = wanted if isinstance(wanted, list) else [wanted]
    if condition == "files_re":
        return any(re.match(pattern, file) for pattern in values for file in change.files)
    attribute, _, how = condition.partition("_")
    value = getattr(change, attribute)
    if how == "re":
        return value is not None and any(re.match(pattern, value) for pattern in values)
    if how == "":
        return value in values
    raise ValueError(f"the checker does not know the condition {condition!r} of a change_filter: teach it")


@dataclass(frozen=True, slots=True)
class Rule:
    """A time rule as its state says it: ``fingerprint`` and ``anchor``."""

    fingerprint: list[Any]
    anchor: int

    @property
    def first_from(self) -> int:
        """Just before the first due time that a scheduler with this rule can have, if it had none before."""
        return self.anchor - 1 if self.fingerprint[0] == "periodic" else self.anchor

    def due(self, after: int, until: int) -> list[int]:
        """The due times at ``after < t <= until``."""
        if self.fingerprint[0] == "periodic":
            return _grid(self.anchor, self.fingerprint[1], after, until)
        _, calendar, timezone = self.fingerprint
        if calendar in ("* * * * *", {"minute": "*"}):
            return _grid(0, 60_000_000, after, until)
        rule = (
            CronRule.parse(calendar, timezone)
            if isinstance(calendar, str)
            else CronRule.from_nightly(**calendar, timezone=timezone)
        )
        found = []
        at = rule.after(after)
        while at is not None and at <= until:
            found.append(at)
            at = rule.after(at)
        return found


def _grid(anchor: int, period: int, after: int, until: int) -> list[int]:
    first = max(anchor, anchor + ((after - anchor) // period + 1) * period)
    return list(range(first, until + 1, period))


@dataclass(frozen=True, slots=True)
class TickPolicy:
    """What an entry says of times that nobody served when they came due."""

    catch_up: str
    limit: int
    grace_us: int | None
    jitter_us: int
    overlap: str = "allow"


def policy(entry: Entry) -> TickPolicy:
    """An entry's policy, with the product's documented defaults."""
    grace = entry.get("grace")
    return TickPolicy(
        entry.get("catch_up", "one"),
        entry.get("catch_up_limit", 100),
        None if grace is None else round(parse_duration(grace) * 1e6),
        round(parse_duration(entry["jitter"]) * 1e6) if entry.get("jitter") else 0,
        entry.get("overlap", "allow"),
    )
