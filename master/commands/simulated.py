"""What ``locum simulate`` shows of one outcome, or of how two differ: for people, and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...config import MasterConfig
from ...db.effects import NewChange
from ...db.task_states import Result
from ...schedulers.base import to_datetime
from ..simulation import Outcome, Passed, Requested, Span, Trouble
from .asking import zone_given
from .output import counted, emit_json, iso, say, table, warn


@dataclass(frozen=True, slots=True)
class Given:
    """Changes of the simulated time, and how many lay outside of it; ``origin`` says where they are from."""

    changes: Sequence[NewChange] = ()
    before: int = 0
    after: int = 0
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """What only one of two files would request; ``changed``: both do, but not in the same way."""

    only_config: Sequence[Requested]
    only_against: Sequence[Requested]
    changed: Sequence[tuple[Requested, Requested]]
    same: int


@dataclass(frozen=True, slots=True)
class About:
    """What was simulated."""

    config: MasterConfig
    zone_name: str
    span: Span
    given: Given
    results: Mapping[str, Result]

    def time(self, us: int) -> str:
        """With its offset, in the zone that was asked for."""
        local = to_datetime(us).astimezone(zone_given(self.zone_name))
        offset = local.strftime("%z")
        return f"{local.replace(tzinfo=None).isoformat(' ', 'seconds')} {offset[:3]}:{offset[3:5]}"

    def local(self, us: int) -> str:
        """The same for programs."""
        return to_datetime(us).astimezone(zone_given(self.zone_name)).isoformat()

    @property
    def assumed(self) -> str:
        """What is taken for granted of tasks."""
        others = ", ".join(f"{builder}: {result}" for builder, result in self.results.items())
        return "every task ends at once, with success" + (f" (but {others})" if others else "")


# -- two outcomes -------------------------------------------------------------------------------------------------------


def compared(mine: Sequence[Requested], theirs: Sequence[Requested]) -> Difference:
    """What is only in one of them. Buildsets of one scheduler for one moment and the same changes are the same one."""
    both = Counter(map(_whole, mine)) & Counter(map(_whole, theirs))
    same = both.total()
    only_mine, only_theirs = _without(mine, both.copy()), _without(theirs, both.copy())
    changed = []
    there: dict[Any, list[Requested]] = {}
    for one in only_theirs:
        there.setdefault(_identity(one), []).append(one)
    left = []
    for one in only_mine:
        counterparts = there.get(_identity(one))
        if counterparts:
            changed.append((one, counterparts.pop(0)))
        else:
            left.append(one)
    gone = {id(one) for ones in there.values() for one in ones}
    return Difference(left, [one for one in only_theirs if id(one) in gone], changed, same)


def _identity(one: Requested) -> Any:
    return (one.scheduler, one.at, one.due_at, one.changes)


def _whole(one: Requested) -> Any:
    return (*_identity(one), one.cause, one.reason, one.builders, repr(one.stamps), repr(one.properties), one.priority)


def _without(ones: Sequence[Requested], taken: Counter[Any]) -> list[Requested]:
    left = []
    for one in ones:
        key = _whole(one)
        if taken[key]:
            taken[key] -= 1
        else:
            left.append(one)
    return left


# -- what is shown ------------------------------------------------------------------------------------------------------


def show(about: About, outcome: Outcome, limit: int, as_json: bool) -> None:
    """All that would be requested, and how much each scheduler would."""
    if as_json:
        requested = [_json(about, one) for one in outcome.requested]
        passed = [_passed_json(about, one) for one in outcome.passed]
        emit_json({**_about_json(about), "requested": requested, "skipped": passed, **_troubles_json(outcome)})
        return
    _say_about(about)
    shown = outcome.requested if not limit else outcome.requested[:limit]
    columns = (f"time ({about.zone_name})", "scheduler", "why", "builders", "builds")
    table(columns, [_row(about, one) for one in shown], "no buildset would be requested")
    if len(shown) < len(outcome.requested):
        say(f"... and {len(outcome.requested) - len(shown)} more; --limit 0 shows all")
    say("")
    counts = Counter(one.scheduler for one in outcome.requested)
    skips = _reasons(outcome.passed)
    rows = [(name, counts[name], skips.get(name, "")) for name in outcome.schedulers]
    table(("scheduler", "buildsets", "skipped"), rows, "the file has no schedulers")


def show_difference(about: About, other: str, difference: Difference, limit: int, as_json: bool) -> None:
    d = difference
    if as_json:
        emit_json(
            {
                **_about_json(about),
                "against": other,
                "same": d.same,
                "only_config": [_json(about, one) for one in d.only_config],
                "only_against": [_json(about, one) for one in d.only_against],
                "changed": [{"config": _json(about, a), "against": _json(about, b)} for a, b in d.changed],
            }
        )
        return
    _say_about(about)
    say(f"+ only {about.config.file}; - only {other}; ~ both, but not in the same way; {d.same} are the same")
    rows = [("+", one, "") for one in d.only_config] + [("-", one, "") for one in d.only_against]
    rows += [("~", one, "; ".join(_differing(one, before))) for one, before in d.changed]
    rows.sort(key=lambda row: row[1].at)
    shown = rows if not limit else rows[:limit]
    columns = ("", f"time ({about.zone_name})", "scheduler", "why", "builders", "builds", "was")
    table(columns, [(sign, *_row(about, one), was) for sign, one, was in shown], "they would request the same")
    if len(shown) < len(rows):
        say(f"... and {len(rows) - len(shown)} more; --limit 0 shows all")


def _differing(one: Requested, before: Requested) -> Iterable[str]:
    for name in ("cause", "reason", "builders", "stamps", "properties", "priority"):
        was = getattr(before, name)
        if was != getattr(one, name):
            yield f"{name}: {', '.join(map(str, was)) if isinstance(was, tuple) else was}"


def _say_about(about: About) -> None:
    given = about.given
    outside = [f"{n} {where}" for n, where in ((given.before, "before"), (given.after, "after")) if n]
    left = f" ({' and '.join(outside)} that time are left out)" if outside else ""
    changes = f"{counted(len(given.changes), 'change')} of {given.origin}{left}" if given.origin else "no changes"
    say(f"from {about.time(about.span.start)} to {about.time(about.span.end)}, {changes}")
    say(f"assumed: {about.assumed}; nothing was run or touched")


def _row(about: About, one: Requested) -> tuple[str, ...]:
    why = one.cause if one.due_at in (None, one.at) else f"{one.cause}: {about.time(one.due_at or 0)}"
    if one.changes and not why.startswith("change "):
        why += f", {_numbers(one.changes)}"
    return about.time(one.at), one.scheduler, why, ", ".join(one.builders), _builds(one)


def _numbers(changes: Sequence[int]) -> str:
    if len(changes) == 1:
        return f"change {changes[0]}"
    if len(changes) > 4 or changes[-1] - changes[0] == len(changes) - 1:
        return f"{len(changes)} changes, {changes[0]} to {changes[-1]}"
    return f"changes {', '.join(map(str, changes))}"


def _builds(one: Requested) -> str:
    shown = []
    for stamp in one.stamps:
        words = [stamp.get("codebase"), stamp.get("branch"), (stamp.get("revision") or "")[:12]]
        shown.append(" ".join(word for word in words if word))
    return ", ".join(words for words in shown if words)


def _reasons(passed: Iterable[Passed]) -> dict[str, str]:
    counts: dict[str, Counter[str]] = {}
    for one in passed:
        counts.setdefault(one.scheduler, Counter())[one.reason] += one.count
    return {name: "; ".join(f"{n}: {why}" for why, n in found.items()) for name, found in counts.items()}


def tell_troubles(file: str, outcome: Outcome, about: About) -> bool:
    for scheduler, why in outcome.left_out.items():
        warn(f"{file}: scheduler {scheduler!r} is left out: {why}")
    for trouble in outcome.troubles.values():
        if trouble.cause != "activate":
            times = f" ({trouble.times} times)" if trouble.times > 1 else ""
            warn(
                f"{file}: scheduler {trouble.scheduler!r}, at {about.time(trouble.at)}, {trouble.cause}{times}: {trouble.error}"
            )
    if outcome.troubles:
        warn(f"{file}: what is shown is not the whole truth: schedulers' own code failed, see above")
    return bool(outcome.troubles)


# -- JSON ---------------------------------------------------------------------------------------------------------------


def _about_json(about: About) -> dict[str, Any]:
    given = about.given
    return {
        "config": str(about.config.file),
        "from": iso(about.span.start),
        "to": iso(about.span.end),
        "timezone": about.zone_name,
        "assumed": {"outcome": Result.SUCCESS, "but": dict(about.results)},
        "changes": {"given": len(given.changes), "left_out_before": given.before, "left_out_after": given.after},
    }


def _json(about: About, one: Requested) -> dict[str, Any]:
    return {
        "at": iso(one.at),
        "local": about.local(one.at),
        "due_at": iso(one.due_at),
        "scheduler": one.scheduler,
        "cause": one.cause,
        "reason": one.reason,
        "builders": list(one.builders),
        "changes": list(one.changes),
        "sourcestamps": list(one.stamps),
        "properties": dict(one.properties),
        "priority": one.priority,
    }


def _passed_json(about: About, one: Passed) -> dict[str, Any]:
    ticks = one.what == "ticks"
    return {
        "scheduler": one.scheduler,
        "what": one.what,
        "first": iso(one.first) if ticks else one.first,
        "last": iso(one.last) if ticks else one.last,
        "count": one.count,
        "reason": one.reason,
    }


def _troubles_json(outcome: Outcome) -> dict[str, Any]:
    def one(t: Trouble) -> dict[str, Any]:
        return {"scheduler": t.scheduler, "at": iso(t.at), "cause": t.cause, "times": t.times, "error": t.error}

    return {"failures": [one(t) for t in outcome.troubles.values()], "left_out": dict(outcome.left_out)}
