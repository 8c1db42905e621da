"""``locum force``: a buildset now, from any host, by any scheduler."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import click

from ...db import audit, messages, requested
from ...db.database import Database
from ...db.naming import Refused, storable
from ...db.requested import BuildsetLine
from ..changes import properties_json
from .buildsets import buildset_json, good
from .opening import SECONDS, database_command, json_option, polled, who, written
from .output import emit_json, iso, say, warn
from .properties import PROPERTY_HELP, parsed

ANSWER_TIMEOUT_S = 10.0


@click.command()
@click.argument("scheduler")
@click.option("--branch", metavar="TEXT")
@click.option("--revision", metavar="TEXT")
@click.option("--repository", metavar="URL")
@click.option("--project", metavar="TEXT")
@click.option("--codebase", metavar="TEXT", help="Which codebase the four above are for.")
@click.option("--reason", default="", metavar="TEXT", help="Why; it is kept with the buildset.")
@click.option("--property", "properties", multiple=True, metavar="NAME=VALUE", help=PROPERTY_HELP)
@click.option(
    "--builder", "builders", multiple=True, metavar="NAME", help="Only these of its builders; may be repeated."
)
@click.option(
    "--param",
    "params",
    multiple=True,
    metavar="FIELD=VALUE",
    help="A field of a ForceScheduler's form; may be repeated.",
)
@click.option(
    "--param-file", "param_files", multiple=True, metavar="FIELD=PATH", help="The same, with a file's content as value."
)
@click.option("--priority", type=click.IntRange(-(2**31), 2**31 - 1), help="Higher goes first.")
@click.option("--request-id", metavar="ID", help="Makes a repeated command one request. Default: a new one.")
@click.option("--wait", is_flag=True, help="Wait until the buildset is complete; exit 0 if it succeeded, else 1.")
@click.option(
    "--timeout",
    type=SECONDS,
    metavar="SECONDS",
    help="How long to wait. Default: 10 s; with --wait, for ever.",
)
@json_option
@database_command
def force(
    database: Database,
    scheduler: str,
    properties: tuple[str, ...],
    builders: tuple[str, ...],
    params: tuple[str, ...],
    param_files: tuple[str, ...],
    request_id: str | None,
    wait: bool,
    timeout: float | None,
    as_json: bool,
    **given: Any,
) -> int:
    """Have a scheduler add a buildset now.

    Whoever holds SCHEDULER, and wherever this runs. The request is kept until the scheduler has answered it. While nobody holds the scheduler, this says so and ends
    with 0 (with --wait it waits on): the buildset comes when a master has taken it.
    """
    key = request_id or uuid.uuid4().hex
    body = _body(given, parsed(properties), builders)
    form = _form(params, param_files)
    if form:
        body["form"] = form
    if not storable(key) or not key:
        raise click.UsageError("--request-id: expected text without control characters.")
    sent = written(database, ["messages"], _send, scheduler, key, body)
    limit = timeout if timeout is not None else (None if wait else ANSWER_TIMEOUT_S)
    if not sent.held and not as_json:
        warn(f"nobody who is up holds {scheduler} now; the request is kept (request id {key})")
    if not sent.held and not wait:
        limit = min(1.0, limit or 0.0)
    answer = polled(database, lambda conn: messages.answer_of(conn, sent.id), 0.1, limit)
    found = {"message": sent.id, "request_id": key, "held": sent.held, "known": sent.known, "answer": answer}
    if answer is None:
        return _unanswered(found, scheduler, as_json, wait)
    if isinstance(answer.get("errors"), dict):
        return _wrong_form(found, scheduler, answer["errors"], as_json)
    if "error" in answer:
        raise Refused(f"{scheduler} refused the request: {answer.get('why') or answer['error']}")
    buildset = answer.get("buildset")
    complete = None
    if wait and isinstance(buildset, int):
        complete = polled(database, lambda conn: completed(conn, buildset), 0.25, timeout)
    return told(found, buildset, complete, as_json, wait)


def _send(conn: Any, scheduler: str, key: str, body: dict[str, Any]) -> messages.Sent:
    sent = messages.send(conn, scheduler, key, "force", body, who())
    if not sent.known:
        audit.record(conn, who(), "force", f"scheduler '{scheduler}'", body["reason"])
    return sent


def _body(given: dict[str, Any], properties: dict[str, Any], builders: tuple[str, ...]) -> dict[str, Any]:
    for name, value in [*given.items(), *(("builder", builder) for builder in builders)]:
        if isinstance(value, str) and (not storable(value) or len(value.encode()) > 4096):
            raise click.UsageError(f"--{name}: expected text of at most 4096 bytes without NUL characters.")
    try:
        properties_json(properties)
    except ValueError as error:
        raise click.UsageError(f"--property: {error}.") from None
    return {
        "reason": given["reason"],
        "branch": given["branch"],
        "revision": given["revision"],
        "repository": given["repository"],
        "project": given["project"],
        "codebase": given["codebase"],
        "properties": properties,
        "builderNames": list(builders) or None,
        "priority": given["priority"],
        "owner": who(),
    }


def _form(params: tuple[str, ...], files: tuple[str, ...]) -> dict[str, list[str]]:
    form: dict[str, list[str]] = {}
    for option, pairs in (("--param", params), ("--param-file", files)):
        for pair in pairs:
            name, equals, value = pair.partition("=")
            if not equals or not name or not storable(name) or "\0" in value:
                raise click.UsageError(f"{option}: expected FIELD=VALUE, got {pair!r}.")
            form.setdefault(name, []).append(_content(value) if option == "--param-file" else value)
    return form


def _content(path: str) -> str:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise click.UsageError(f"--param-file: cannot read {path}: {why}.") from None
    if "\0" in text:
        raise click.UsageError(f"--param-file: {path} holds a NUL character.")
    return text


def _wrong_form(found: dict[str, Any], scheduler: str, errors: dict[str, str], as_json: bool) -> int:
    """Everything that is wrong, field by field."""
    if as_json:
        emit_json({**found, "buildset": None, "errors": errors})
    else:
        warn(f"{scheduler} refused the form:")
        for field, text in errors.items():
            warn(f"  {field}: {text}")
    return 1


def completed(conn: Any, buildset_id: int) -> BuildsetLine | None:
    """The buildset once it is complete."""
    found = requested.one(conn, buildset_id)
    return found if found.completed_at is not None else None


def _unanswered(found: dict[str, Any], scheduler: str, as_json: bool, wait: bool) -> int:
    if as_json:
        emit_json({**found, "buildset": None})
    elif found["held"] or wait:
        say(f"{scheduler} has not answered yet; the request is kept (request id {found['request_id']})")
    return 1 if wait else 0


def told(found: dict[str, Any], buildset: Any, complete: BuildsetLine | None, as_json: bool, wait: bool) -> int:
    """Say what became of a request that was answered; the exit code."""
    result = complete.result if complete else None
    if as_json:
        done = {"result": result, "completed_at": iso(complete.completed_at)} if complete else {}
        full = {"details": buildset_json(complete)} if complete else {}
        emit_json({**found, "buildset": buildset, **done, **full})
    elif complete:
        say(f"buildset {buildset}: {result}")
    else:
        say(f"buildset {buildset}" + (" is not complete yet" if wait else ""))
    return 0 if not wait or good(result) else 1
