"""``locum simulate``: what the schedulers of a file would request, in simulated time; and how two files differ in that."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from ...config import MasterConfig
from ...db.effects import NewChange
from ...db.naming import Refused
from ...db.task_states import Result
from ...schedulers.base import to_datetime, to_instant
from ..changes import BadChange
from ..configuring import Catalogue, wanted
from ..simulation import Outcome, Passed, Requested, Span, Trouble, simulate
from ..sources.branches import Branches
from ..sources.git import GitPoller
from ..sources.history import Follows, History
from .asking import time_given, zone_given
from .changes import change_of_line, numbered_lines, opened_file
from .opening import json_option, load_config
from .output import emit_json, iso, say, table, warn

MOST_CHANGES = 1_000_000
MOST_DAYS = 3660
_SHOWN_FAULTS = 20


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


@click.command("simulate")
@click.argument("config_file", metavar="[CONFIG]", required=False)
@click.option("--from", "begin", required=True, metavar="TIME", help="When the simulated cluster begins.")
@click.option("--days", type=float, metavar="N", help=f"For how long, at most {MOST_DAYS}. Default: 7.")
@click.option("--until", "end", metavar="TIME", help="Instead of --days.")
@click.option(
    "--changes",
    "changes_file",
    metavar="FILE|-",
    help="Changes, as 'locum change add --json' reads them, each with 'when'.",
)
@click.option(
    "--repository", metavar="PATH", help="Changes: the commits of a clone, at the times at which they were committed."
)
@click.option("--source", metavar="NAME", help="The change source of the file whose commits these are.")
@click.option("--against", metavar="OTHER", help="Show what is different from this other file.")
@click.option(
    "--outcome",
    "outcomes",
    multiple=True,
    metavar="BUILDER=RESULT",
    help="What its tasks end with; may be repeated. Default: success.",
)
@click.option(
    "--timezone", "zone_name", metavar="ZONE", help="Of the times here and in the answer. Default: cluster.timezone."
)
@click.option(
    "--limit", default=200, type=click.IntRange(0), show_default=True, help="Rows to show; 0: all. JSON has all."
)
@json_option
def simulate_(
    config_file: str | None,
    begin: str,
    days: float | None,
    end: str | None,
    changes_file: str | None,
    repository: str | None,
    source: str | None,
    against: str | None,
    outcomes: tuple[str, ...],
    zone_name: str | None,
    limit: int,
    as_json: bool,
) -> int:
    """What the schedulers of CONFIG would request, when and why, without touching anything.

    They run in simulated time, from a first start at --from on. Tasks are not run: each is taken to end at once, and well unless --outcome says otherwise.
    """
    sys.dont_write_bytecode = True  # plugins are imported, and nothing may be left behind
    config = load_config(config_file)
    other = None if against is None else load_config(against)
    zone_name = zone_name or config.cluster.timezone
    zone_given(zone_name)
    span = _span(begin, days, end, zone_name)
    results = _results(outcomes, [config] if other is None else [config, other])
    given = _given(changes_file, repository, source, config, span)
    mine = _simulated(config, span, given, results)
    theirs = None if other is None else _simulated(other, span, given, results)
    about = _About(config, zone_name, span, given, results)
    if theirs is None or other is None:
        _show(about, mine, limit, as_json)
    else:
        _show_difference(about, str(other.file), compared(mine.requested, theirs.requested), limit, as_json)
    failed = _tell_troubles(str(config.file), mine, about)
    if theirs is not None and other is not None:
        failed |= _tell_troubles(str(other.file), theirs, about)
    return 1 if failed else 0


@dataclass(frozen=True, slots=True)
class _About:
    config: MasterConfig
    zone_name: str
    span: Span
    given: Given
    results: Mapping[str, Result]

    def time(self, us: int) -> str:
        """With its offset, in the zone that was asked for."""
        local = to_datetime(us).astimezone(zone_given(self.zone_name))
        offset = local.strftime("%z")
        return f"{local:%Y-%m-%d %H:%M:%S} {offset[:3]}:{offset[3:5]}"

    def local(self, us: int) -> str:
        """The same for programs."""
        return to_datetime(us).astimezone(zone_given(self.zone_name)).isoformat()

    @property
    def assumed(self) -> str:
        """What is taken for granted of tasks."""
        others = ", ".join(f"{builder}: {result}" for builder, result in self.results.items())
        return "every task ends at once, with success" + (f" (but {others})" if others else "")


# -- what was given -----------------------------------------------------------------------------------------------------


def _span(begin: str, days: float | None, end: str | None, zone_name: str) -> Span:
    first = time_given("--from", begin, zone_name).astimezone(zone_given(zone_name))
    if end is not None:
        if days is not None:
            raise click.UsageError("--until: give either it or --days, not both.")
        last = time_given("--until", end, zone_name)
    else:
        days = 7.0 if days is None else days
        if not 0 < days <= MOST_DAYS:
            raise click.UsageError(f"--days: expected more than 0 and at most {MOST_DAYS} days, got {days:g}.")
        try:
            last = first + timedelta(days=days)  # on the wall clock: a day may have 23 hours
        except OverflowError:
            raise click.UsageError(f"--from: {begin} is too late to simulate {days:g} days.") from None
    span = Span(to_instant(first), to_instant(last))
    if span.end <= span.start:
        raise click.UsageError(f"--until: {end} does not lie behind --from, {begin}.")
    if span.end - span.start > (MOST_DAYS + 1) * 86_400_000_000:
        raise click.UsageError(f"--until: {end} lies more than {MOST_DAYS} days behind --from, {begin}.")
    return span


def _results(outcomes: Iterable[str], configs: Sequence[MasterConfig]) -> dict[str, Result]:
    known = {builder.name for config in configs for builder in config.builders}
    found: dict[str, Result] = {}
    for one in outcomes:
        builder, equals, result = one.partition("=")
        if not equals or result not in set(Result):
            raise click.UsageError(
                f"--outcome: expected BUILDER=RESULT, such as unit={Result.FAILURE}, got {one!r}; results are {', '.join(Result)}."
            )
        if builder not in known:
            raise click.UsageError(
                f"--outcome: there is no builder {builder!r}; there are {', '.join(sorted(known)) or 'none'}."
            )
        found[builder] = Result(result)
    return found


def _given(
    changes_file: str | None, repository: str | None, source: str | None, config: MasterConfig, span: Span
) -> Given:
    if changes_file is not None and repository is not None:
        raise click.UsageError("--repository: give either it or --changes, not both.")
    if source is not None and repository is None:
        raise click.UsageError("--source: it says whose commits those of --repository are; give that, too.")
    if repository is not None:
        history = History(Path(repository))
        follows = _follows(history, repository, source, config)
        found = history.changes(follows, span.start, span.end)
        return Given(found, origin=f"{repository}, as {follows.name} would report them")
    if changes_file is None:
        return Given()
    found = sorted(_from_file(changes_file), key=lambda change: change.when_at or 0)
    before = sum((change.when_at or 0) < span.start for change in found)
    after = sum((change.when_at or 0) > span.end for change in found)
    return Given(found[before : len(found) - after], before, after, changes_file)


def _from_file(name: str) -> list[NewChange]:
    found: list[NewChange] = []
    faults: list[str] = []
    with opened_file(name) as stream:
        for number, line in numbered_lines(stream):
            try:
                change = change_of_line(line)
                if change.when_at is None:
                    raise BadChange(["when: is missing; the simulation must know at which time it came"])
                found.append(change)
            except BadChange as error:
                faults += [f"{name}, line {number}: {fault}" for fault in error.faults]
            if len(faults) > _SHOWN_FAULTS or len(found) > MOST_CHANGES:
                break
    for fault in faults[:_SHOWN_FAULTS]:
        warn(fault)
    if faults:
        raise Refused(f"--changes: {name} cannot be used as it is; mend the lines named above")
    if len(found) > MOST_CHANGES:
        raise Refused(f"--changes: {name} has more than {MOST_CHANGES} changes")
    # The same request is the same change, and a change that was read twice would be one as well.
    return list({change.request_id: change for change in found}.values())


def _follows(history: History, path: str, source: str | None, config: MasterConfig) -> Follows:
    pollers = {one.name: one.make() for one in wanted(config, Catalogue())[0] if issubclass(one.cls, GitPoller)}
    if source is not None:
        if source not in pollers:
            there = ", ".join(pollers) or "none"
            raise click.UsageError(f"--source: the file has no GitPoller {source!r}; it has {there}.")
        return _of_poller(pollers[source])
    origin = history.origin()
    places = {origin.rstrip("/"), path.rstrip("/"), str(Path(path).resolve())} - {""}
    fitting = [
        one for one in pollers.values() if isinstance(one, GitPoller) and one.address.shown.rstrip("/") in places
    ]
    if len(fitting) > 1:
        names = ", ".join(one.name for one in fitting)
        raise click.UsageError(f"--source: several change sources follow that repository: {names}; name one of them.")
    if fitting:
        return _of_poller(fitting[0])
    return Follows("a poller of all branches", Branches(("*",)), {"repository": origin or path})


def _of_poller(poller: Any) -> Follows:
    return Follows(poller.name, poller.branches, poller.common, poller.revlink)


def _simulated(config: MasterConfig, span: Span, given: Given, results: Mapping[str, Result]) -> Outcome:
    builders = {builder.name for builder in config.builders}
    try:
        return simulate(config, span, given.changes, {b: r for b, r in results.items() if b in builders})
    finally:
        for plugin in config.plugins:  # the other file may have plugins of the same names
            if plugin.path is not None:
                sys.modules.pop(plugin.path.stem, None)


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


def _show(about: _About, outcome: Outcome, limit: int, as_json: bool) -> None:
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


def _show_difference(about: _About, other: str, difference: Difference, limit: int, as_json: bool) -> None:
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


def _say_about(about: _About) -> None:
    given = about.given
    outside = [f"{n} {where}" for n, where in ((given.before, "before"), (given.after, "after")) if n]
    left = f" ({' and '.join(outside)} that time are left out)" if outside else ""
    changes = f"{len(given.changes)} changes of {given.origin}{left}" if given.origin else "no changes"
    say(f"from {about.time(about.span.start)} to {about.time(about.span.end)}, {changes}")
    say(f"assumed: {about.assumed}; nothing was run or touched")


def _row(about: _About, one: Requested) -> tuple[str, ...]:
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


def _tell_troubles(file: str, outcome: Outcome, about: _About) -> bool:
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


def _about_json(about: _About) -> dict[str, Any]:
    given = about.given
    return {
        "config": str(about.config.file),
        "from": iso(about.span.start),
        "to": iso(about.span.end),
        "timezone": about.zone_name,
        "assumed": {"outcome": Result.SUCCESS, "but": dict(about.results)},
        "changes": {"given": len(given.changes), "left_out_before": given.before, "left_out_after": given.after},
    }


def _json(about: _About, one: Requested) -> dict[str, Any]:
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


def _passed_json(about: _About, one: Passed) -> dict[str, Any]:
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
