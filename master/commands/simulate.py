"""``locum simulate``: what the schedulers of a file would request, in simulated time; and how two files differ in that."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from ...config import MasterConfig
from ...db.effects import NewChange
from ...db.naming import Refused
from ...db.task_states import Result
from ...schedulers.base import to_instant
from ..changes import BadChange
from ..configuring import Catalogue, wanted
from ..simulation import Outcome, Span, simulate
from ..sources.branches import Branches
from ..sources.git import GitPoller
from ..sources.history import Follows, History
from .asking import time_given, zone_given
from .changes import change_of_line, numbered_lines, opened_file
from .opening import json_option, load_config
from .output import warn
from .simulated import About, Given, compared, show, show_difference, tell_troubles

MOST_CHANGES = 1_000_000
MOST_DAYS = 3660
_SHOWN_FAULTS = 20


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
    about = About(config, zone_name, span, given, results)
    mine = _simulated(config, span, given, results)
    if other is None:
        show(about, mine, limit, as_json)
        return int(tell_troubles(str(config.file), mine, about))
    theirs = _simulated(other, span, given, results)
    show_difference(about, str(other.file), compared(mine.requested, theirs.requested), limit, as_json)
    both = ((config, mine), (other, theirs))
    return int(any([tell_troubles(str(one.file), outcome, about) for one, outcome in both]))


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
