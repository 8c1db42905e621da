"""What a scheduler is, as JSON that the database keeps with it.

So people can be told when it fires, and which changes are for it, with nothing but the database at hand; and of a change
that was judged long ago, by what the scheduler was then. What only code can tell (a function, an overridden method) is
named as such, never guessed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from .arguments import json_encoder
from .base import BaseScheduler, Clustered
from .basic import BaseBasicScheduler
from .cancellers import OldBuildCanceller
from .catchup import CatchUp, Policy
from .changes import Change
from .dependent import Dependent
from .filters import AllOf, ChangeFilter
from .grid import TimeRule
from .only_if_changed import OnlyIfChanged
from .timed import Timed, rule_of
from .triggerable import NightlyTriggerable

Reaction = Literal["at once", "stable", "collects", "cancels", "own"]
_OURS: Final = __name__.rpartition(".")[0] + "."
_COMPAT: Final = _OURS + "compat."
_REACTIONS: Final = ("at once", "stable", "collects", "cancels", "own")
_PLAIN_FLAGS: Final = re.compile("").flags
_encode = json_encoder(allow_nan=False, sort_keys=True)


def description_of(scheduler: Clustered, consumes_changes: bool) -> str:
    """What an instance that has been activated is, as JSON text. What cannot be told of code that is not ours is left out."""
    try:
        return _encode(describe(scheduler, consumes_changes))
    except Exception:  # attributes of an author's class that are not what they were: that must not keep it from working
        return json.dumps({"class": type(scheduler).__name__})


def describe(scheduler: Clustered, consumes_changes: bool) -> dict[str, Any]:
    """JSON values that ``Description`` reads; of an instance that has been activated."""
    found: dict[str, Any] = {"class": type(scheduler).__name__}
    if isinstance(scheduler, BaseScheduler) and consumes_changes:
        found["changes"] = _changes(scheduler)
    if isinstance(scheduler, Timed):
        found["times"] = _times(scheduler)
    if isinstance(scheduler, Dependent):
        found["upstream"] = scheduler.upstream_name
    return found


def _changes(scheduler: BaseScheduler) -> dict[str, Any]:
    considering = scheduler.considering
    code: list[str] = []
    filters = considering.filter.filters if isinstance(considering.filter, AllOf) else (considering.filter,)
    said: list[dict[str, Any]] = []
    for one in filters:
        if isinstance(one, ChangeFilter):
            conditions, functions = _conditions(one)
            code += functions
            said += [conditions] if conditions else []
        elif one is not None:
            code.append(f"the filter {type(one).__name__}")
    if not _is_ours(scheduler, "_consider"):
        code.append(f"{type(scheduler).__name__}._consider")
    found: dict[str, Any] = {
        "codebases": sorted(scheduler.codebases),
        "conditions": said,
        "code": code,
        "importance": considering.file_is_important is not None,
        "onlyImportant": considering.only_important,
        "reaction": reaction_of(scheduler),
    }
    if isinstance(scheduler, BaseBasicScheduler):
        found["treeStableTimer"] = scheduler.treeStableTimer
    return found


def reaction_of(scheduler: Clustered) -> Reaction:
    """What its gotChange does with a change, as far as it is one of ours."""
    if isinstance(scheduler, BaseBasicScheduler) and _is_ours(
        scheduler, "gotChange", "gotTimer", "timerKey", "pendingFor"
    ):
        return "at once" if scheduler.treeStableTimer is None else "stable"
    if isinstance(scheduler, OnlyIfChanged) and _is_ours(scheduler, "gotChange", "fire"):
        return "collects"
    if isinstance(scheduler, OldBuildCanceller) and _is_ours(scheduler, "gotChange"):
        return "cancels"
    return "own"


def stable_timer(key: str) -> str:
    """What people are told of a tree-stable timer of that key, such as "tree-stable timer of branch 'main'"."""
    try:
        _, _, _, branch = json.loads(key)
    except (ValueError, TypeError):
        return "tree-stable timer"
    return "tree-stable timer of the default branch" if branch is None else f"tree-stable timer of branch {branch!r}"


def _conditions(one: ChangeFilter) -> tuple[dict[str, Any], list[str]]:
    """The conditions that JSON can keep, and the names of the others."""
    kept: dict[str, Any] = {}
    others: list[str] = []
    for name, value in one.conditions.items():
        try:
            kept[name] = _plain(value)
        except TypeError:
            others.append(name)
    return kept, others


def _plain(value: Any) -> Any:
    """As JSON; TypeError for what would come back as something else."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, re.Pattern) and value.flags == _PLAIN_FLAGS:
        return value.pattern
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(item) for key, item in value.items()}
    raise TypeError


def _times(scheduler: Timed) -> dict[str, Any]:
    policy = scheduler.policy
    found: dict[str, Any] = {
        "catch_up": policy.catch_up,
        "catch_up_limit": policy.catch_up_limit,
        "grace_us": policy.grace_us,
        "jitter_us": policy.jitter_us,
        "overlap": scheduler.overlap,
        "served": "ours" if _is_ours(scheduler, "gotTimer", "serve", "fire") else "own",
    }
    if _is_ours(scheduler, "rule", "fingerprint"):
        found["rule"] = scheduler.fingerprint()
    if isinstance(scheduler, OnlyIfChanged):
        found["onlyIfChanged"] = scheduler.onlyIfChanged
    if isinstance(scheduler, NightlyTriggerable):
        found["handedOver"] = True
    return found


def _is_ours(scheduler: Clustered, *methods: str) -> bool:
    """Whether a scheduler's methods are those of our own classes, so that what they do is known."""
    modules = [f"{getattr(getattr(type(scheduler), name, None), '__module__', '')}." for name in methods]
    return all(module.startswith(_OURS) and not module.startswith(_COMPAT) for module in modules)


@dataclass(frozen=True, slots=True)
class Times:
    """How a scheduler fires. ``fingerprint`` None: code of its own says when. ``is_ours``: so is what a time does."""

    fingerprint: Any
    policy: Policy
    overlap: str
    is_ours: bool
    only_if_changed: bool
    handed_over: bool

    def rule(self, anchor: int) -> TimeRule | None:
        """The rule, for a grid that begins at ``anchor``; None: only its code knows."""
        return None if self.fingerprint is None else rule_of(self.fingerprint, anchor)


@dataclass(frozen=True, slots=True)
class Judgement:
    """Which changes are for a scheduler, and what it does with them. ``code``: what of that only code can tell."""

    codebases: tuple[str, ...]
    conditions: tuple[tuple[str, Any, ChangeFilter], ...]
    code: tuple[str, ...]
    judges_importance: bool
    only_important: bool
    reaction: Reaction
    tree_stable_s: float | None

    def refusals(self, change: Change) -> list[str]:
        """Those of the known conditions that do not hold, each as a sentence. The real filters judge."""
        found: dict[str, str] = {}  # 'branch' and 'change_filter' may ask for the same
        if change.codebase not in self.codebases:
            names = ", ".join(repr(name) for name in self.codebases)
            found["codebase"] = f"its codebases are {names}, and the change is of {change.codebase!r}"
        for name, value, one in self.conditions:
            if not one.filter_change(change):
                same = [value] if isinstance(value, str) else value
                found.setdefault(f"{name}={same!r}", _refusal(name, value, change))
        return list(found.values())


@dataclass(frozen=True, slots=True)
class Description:
    """What ``describe`` told. ``judgement``, ``times`` None: it consumes no changes, it has no times."""

    cls: str
    judgement: Judgement | None
    times: Times | None
    upstream: str | None


def read_description(value: Mapping[str, Any]) -> Description:
    """What ``describe`` told. ValueError: it is nothing that this release has written."""
    try:
        changes, times = value.get("changes"), value.get("times")
        return Description(
            str(value["class"]),
            None if changes is None else _judgement(changes),
            None if times is None else _read_times(times),
            value.get("upstream"),
        )
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"its description cannot be read by this release: {error!r}") from None


def _judgement(value: Mapping[str, Any]) -> Judgement:
    conditions = []
    for one in value["conditions"]:
        for name, wanted in one.items():
            made: Any = {name: wanted}
            conditions.append((name, wanted, ChangeFilter(**made)))
    if value["reaction"] not in _REACTIONS:
        raise ValueError(value["reaction"])
    return Judgement(
        tuple(map(str, value["codebases"])),
        tuple(conditions),
        tuple(map(str, value["code"])),
        bool(value["importance"]),
        bool(value["onlyImportant"]),
        cast("Reaction", value["reaction"]),
        value.get("treeStableTimer"),
    )


def _read_times(value: Mapping[str, Any]) -> Times:
    policy = Policy(cast("CatchUp", value["catch_up"]), value["catch_up_limit"], value["grace_us"], value["jitter_us"])
    fingerprint = value.get("rule")
    if fingerprint is not None and rule_of(fingerprint, 0) is None:
        raise ValueError(fingerprint)
    return Times(
        fingerprint,
        policy,
        str(value["overlap"]),
        value["served"] == "ours",
        bool(value.get("onlyIfChanged")),
        bool(value.get("handedOver")),
    )


def _refusal(name: str, wanted: Any, change: Change) -> str:
    attribute = re.sub(r"(_not)?_(re|eq)$", "", name)
    if attribute == "property":
        has = ", ".join(f"{key}={change.properties.get(key, '')!r:.60}" for key in wanted)
    elif attribute == "files":
        has = "files " + (", ".join(change.files)[:200] or "(none)")
    else:
        has = f"{attribute} {getattr(change, attribute)!r:.100}"
    return f"its filter has {name}={wanted!r:.100}, and the change has {has}"
