"""``locum change``: hand over changes, see those that are there."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import click

from ...db import audit
from ...db import changes as kept
from ...db.changes import ChangeRow
from ...db.database import Database
from ...db.effects import NewChange
from ...db.naming import Refused
from ..changes import COMMENTS_LIMIT, BadChange, validated
from .opening import EVERYTHING, LIMIT, database_command, json_option, reason_option, who, written
from .output import counted, either, iso, moment, say, table, up_to, warn
from .properties import PROPERTY_HELP, parsed

MOST_LINES = 10_000
LONGEST_LINE = 32 * COMMENTS_LIMIT
MOST_BYTES = 256 * 1024 * 1024
_SHOWN_FAULTS = 20


@click.group()
def change() -> None:
    """Changes: what happened in repositories."""


_FIELDS: tuple[Callable[[Any], Any], ...] = (
    click.option("--who", metavar="TEXT", help="The author. Default: you."),
    click.option("--branch", metavar="TEXT"),
    click.option("--revision", metavar="TEXT"),
    click.option("--repository", metavar="URL"),
    click.option("--codebase", metavar="TEXT"),
    click.option("--project", metavar="TEXT"),
    click.option("--category", metavar="TEXT"),
    click.option("--comments", metavar="TEXT", help="The commit's message; '-' reads it from standard input."),
    click.option("--revlink", metavar="URL", help="A page that shows the revision."),
    click.option("--committer", metavar="TEXT"),
    click.option("--when", metavar="TIME", help="ISO 8601 with an offset, or seconds since the epoch. Default: now."),
    click.option("--file", "files", multiple=True, metavar="NAME", help="A file that it touches; may be repeated."),
    click.option("--property", "properties", multiple=True, metavar="NAME=VALUE", help=PROPERTY_HELP),
    click.option("--request-id", metavar="ID", help="Makes a repeated command one change. Default: a new one."),
)


def _with_fields(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_FIELDS):
        function = option(function)
    return function


@change.command("add")
@_with_fields
@click.option("--json", "source", metavar="FILE|-", help="Read one JSON object a line instead of the options above.")
@reason_option
@database_command
def change_add(database: Database, source: str | None, reason: str, **given: Any) -> None:
    """Add a change, or with --json many.

    The JSON objects have the options' names as keys (files: a list, properties: an object, request_id). At most 10,000
    lines: all are checked first, and all are added in one transaction or none. A request_id that is known already is
    not added again. Comments have at most 1 MiB.
    """
    fields = {name: value for name, value in given.items() if value not in (None, ())}
    if source is not None:
        if fields:
            raise click.UsageError(f"--json cannot be given together with --{next(iter(fields)).replace('_', '-')}.")
        new = _from_lines(source)
    else:
        new = [_from_options(fields)]
    if not new:
        say("no changes were given")
        return
    newest = database.read(kept.last_number)
    numbers = written(database, ["changes"], _add, new, who(), reason)
    _report(new, numbers, newest)


def _add(conn: Any, new: list[NewChange], by: str, reason: str) -> dict[str, int]:
    what = f"{len(new)} changes from request {new[0].request_id}" if len(new) > 1 else f"change {new[0].request_id}"
    audit.record(conn, by, "add", what, reason)
    return kept.add(conn, new)


def _report(new: list[NewChange], numbers: dict[str, int], newest: int) -> None:
    fresh = sorted(number for number in numbers.values() if number > newest)
    known = len(new) - len(fresh)
    if len(new) == 1:
        number = numbers[new[0].request_id]
        say(f"change {number}" + ("" if fresh else " (it was there already)"))
        return
    span = f" ({fresh[0]} to {fresh[-1]})" if fresh else ""
    say(f"{counted(len(fresh), 'change')} added{span}, {known} were there already")


def _from_options(fields: dict[str, Any]) -> NewChange:
    fields.setdefault("who", who())
    if fields.get("comments") == "-":
        fields["comments"] = _decoded(sys.stdin.buffer.read(LONGEST_LINE))
    if "when" in fields:
        fields["when"] = _seconds(fields["when"])
    if "properties" in fields:
        fields["properties"] = parsed(fields["properties"])
    if "files" in fields:
        fields["files"] = list(fields["files"])
    try:
        return validated(fields)
    except BadChange as error:
        raise Refused(f"the change was refused: {error}") from None


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise Refused(f"the comments are not UTF-8 (byte {error.start + 1}); convert them first") from None


def _seconds(text: str) -> float | str:
    try:
        return int(text) if text.lstrip("-").isdecimal() else float(text)
    except ValueError:
        return text


def _from_lines(source: str) -> list[NewChange]:
    with opened_file(source) as stream:
        new, faults = _read(stream)
    if faults:
        for fault in faults[:_SHOWN_FAULTS]:
            warn(fault)
        more = f" (and {len(faults) - _SHOWN_FAULTS} more)" if len(faults) > _SHOWN_FAULTS else ""
        raise Refused(f"{len(faults)} faults{more}: nothing was added; mend the lines named above and send all again")
    return new


@contextlib.contextmanager
def opened_file(name: str) -> Iterator[IO[bytes]]:
    """A file to be read; '-' is standard input. Refused."""
    if name == "-":
        yield sys.stdin.buffer
        return
    try:
        with Path(name).open("rb") as stream:
            yield stream
    except OSError as error:
        raise Refused(f"cannot read {name}: {error.strerror}") from None


def _read(stream: IO[bytes]) -> tuple[list[NewChange], list[str]]:
    new: list[NewChange] = []
    faults: list[str] = []
    total = 0
    for number, line in numbered_lines(stream):
        total += len(line)
        if len(new) >= MOST_LINES or total > MOST_BYTES:
            most = f"{MOST_LINES} changes" if len(new) >= MOST_LINES else f"{MOST_BYTES} bytes"
            raise Refused(f"line {number}: more than {most} at once; nothing was added, send them in several parts")
        if len(line) > LONGEST_LINE:
            raise Refused(f"line {number}: is longer than {LONGEST_LINE} bytes; nothing was added")
        try:
            new.append(change_of_line(line))
        except BadChange as error:
            faults += [f"line {number}: {fault}" for fault in error.faults]
        if len(faults) > 1000:
            raise Refused(f"{faults[0]} (and a thousand faults more): nothing was added")
    return new, faults


def numbered_lines(stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, each with its number."""
    number = 0
    while line := stream.readline(LONGEST_LINE + 1):
        number += 1
        if line.strip():
            yield number, line


def change_of_line(line: bytes) -> NewChange:
    """The change that a line of JSON says. BadChange."""
    try:
        value = json.loads(line.decode(), object_pairs_hook=_without_duplicates, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise BadChange([f"not UTF-8 (byte {error.start + 1}: {line[error.start]:#04x})"]) from None
    except RecursionError:
        raise BadChange(["nested too deeply"]) from None
    except ValueError as error:
        raise BadChange([f"not JSON: {error}"]) from None
    if not isinstance(value, dict):
        raise BadChange(['expected a JSON object, such as {"who": "ann", "branch": "main"}'])
    return validated(value)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:60]!r} stands twice in one object")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


@change.command("list")
@click.option("--limit", default=50, type=LIMIT, show_default=True, help="How many of the newest.")
@click.option("--all", "everything", is_flag=True, help="All of them.")
@json_option
@database_command
def change_list(database: Database, limit: int, everything: bool, as_json: bool) -> None:
    """The newest changes, newest first."""
    limit = EVERYTHING if everything else limit
    found = up_to(limit, database.read(kept.newest, limit + 1))
    columns = ("number", "received", "who", "branch", "revision", "repository", "comments")
    rows = [
        (c.number, moment(c.received_at), c.who, c.branch, c.revision, c.repository, _first_line(c.comments))
        for c in found
    ]
    either(as_json, lambda: [change_json(c) for c in found], lambda: table(columns, rows, "no changes yet"))
    _refuse_faulty(found)


def _refuse_faulty(found: Sequence[ChangeRow]) -> None:
    """After they have been shown: what of them could not be read."""
    faults = [c.fault for c in found if c.fault]
    for fault in faults[:_SHOWN_FAULTS]:
        warn(fault)
    if faults:
        raise Refused(f"{len(faults)} of these changes cannot be read in full; what is wrong stands above")


def change_json(c: ChangeRow) -> dict[str, Any]:
    """A change as JSON has it."""
    return {
        "number": c.number,
        "request_id": c.request_id,
        "received_at": iso(c.received_at),
        "when": iso(c.when_at),
        "who": c.who,
        "committer": c.committer,
        "branch": c.branch,
        "revision": c.revision,
        "repository": c.repository,
        "codebase": c.codebase,
        "project": c.project,
        "category": c.category,
        "comments": c.comments,
        "revlink": c.revlink,
        "files": list(c.files),
        "properties": c.properties,
    }


def _first_line(text: str) -> str:
    line = text.lstrip().split("\n", 1)[0]
    return line if len(line) <= 72 else line[:69] + "..."
