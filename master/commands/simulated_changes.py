"""The changes of a simulation: from a file, or from a clone's history."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ...config import MasterConfig
from ...db.effects import NewChange
from ...db.naming import Refused
from ..changes import BadChange
from ..configuring import Catalogue, wanted
from ..simulation import Span
from ..sources.branches import Branches
from ..sources.git import GitPoller
from ..sources.history import Follows, History
from .changes import change_of_line, numbered_lines, opened_file
from .output import warn
from .simulated import Given

MOST_CHANGES = 1_000_000
_SHOWN_FAULTS = 20


def given_changes(
    changes_file: str | None, repository: str | None, source: str | None, config: MasterConfig, span: Span
) -> Given:
    """Those of the span, in the order of their times. UsageError; Refused."""
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
