"""``locum simulate``: what the schedulers of a file would request, in simulated time; and how two files differ in that."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from datetime import timedelta

import click

from ...config import MasterConfig
from ...db.naming import Refused
from ...db.task_states import Result
from ...schedulers.base import to_datetime, to_instant
from .asking import time_given, zone_given
from .opening import json_option, load_config

MOST_DAYS = 3660
_EARLIEST = to_datetime(0)
MUCH = 5_000
"""schedulers times days, from where on it is worth other processes"""
MOST_JOBS = 8
"""unless it is asked for: each has a database of its own to begin with"""


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
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    metavar="N",
    help="Processes to simulate in. Default: one for each processor, up to 8, if it is much; 1 if schedulers can know of one another.",
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
    jobs: int | None,
    as_json: bool,
) -> int:
    """What the schedulers of CONFIG would request, when and why, without touching anything.

    They run in simulated time, from a first start at --from on. Tasks are not run: each is taken to end at once, and well unless --outcome says otherwise.
    """
    # Only here: they bring all of a master with them, for which other commands need not wait.
    from ..rehearsal import CannotStart
    from ..simulation import Outcome, Span, simulate
    from ..simulation_parts import PartEnded
    from .simulated import About, compared, show, show_difference, tell_troubles
    from .simulated_changes import given_changes

    sys.dont_write_bytecode = True  # plugins are imported, and nothing may be left behind
    config = load_config(config_file)
    other = None if against is None else load_config(against)
    zone_name = zone_name or config.cluster.timezone
    zone_given(zone_name)
    span = Span(*_span(begin, days, end, zone_name))
    results = _results(outcomes, [config] if other is None else [config, other])
    given = given_changes(changes_file, repository, source, config, span)
    about = About(config, zone_name, span, given, results)

    def simulated(one: MasterConfig) -> Outcome:
        try:
            return simulate(one, span, given.changes, results, jobs or _usual_jobs(one, span.end - span.start))
        except (CannotStart, PartEnded) as error:
            raise Refused(f"{one.file}: {error}; nothing was simulated") from None

    mine = simulated(config)
    if other is None:
        show(about, mine, limit, as_json)
        return int(tell_troubles(str(config.file), mine, about))
    theirs = simulated(other)
    show_difference(about, str(other.file), compared(mine.requested, theirs.requested), limit, as_json)
    both = ((config, mine), (other, theirs))
    return int(any([tell_troubles(str(one.file), outcome, about) for one, outcome in both]))


def _usual_jobs(config: MasterConfig, span_us: int) -> int:
    much = len(config.schedulers) * span_us >= MUCH * 86_400_000_000
    return min(MOST_JOBS, len(os.sched_getaffinity(0))) if much else 1


# -- what was given -----------------------------------------------------------------------------------------------------


def _span(begin: str, days: float | None, end: str | None, zone_name: str) -> tuple[int, int]:
    first = time_given("--from", begin, zone_name)
    if first < _EARLIEST:
        raise click.UsageError(
            f"--from: {begin} lies before 1970, where Locum's times begin; give a later time, such as 1970-01-01T00:00Z."
        )
    try:
        first = first.astimezone(zone_given(zone_name))
    except OverflowError:
        raise click.UsageError(f"--from: {begin} is too late to simulate; give an earlier time.") from None
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
    span = (to_instant(first), to_instant(last))
    if span[1] <= span[0]:
        raise click.UsageError(f"--until: {end} does not lie behind --from, {begin}.")
    if span[1] - span[0] > (MOST_DAYS + 1) * 86_400_000_000:
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
