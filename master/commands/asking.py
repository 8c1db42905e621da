"""What people ask of a scheduler that is kept until it has answered: run now, backfill."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click

from ...config import ConfigError
from ...db import audit, messages
from ...db.database import Database
from ...db.naming import Refused, storable
from ...schedulers.base import to_instant
from ...schedulers.zones import zone
from .opening import load_config, polled, who, written
from .output import warn

ANSWER_TIMEOUT_S = 10.0

request_option = click.option(
    "--request-id", metavar="ID", help="Makes a repeated command one request. Default: a new one."
)
zone_option = click.option(
    "--timezone", "zone_name", metavar="ZONE", help="Of times without an offset. Default: cluster.timezone, or UTC."
)


def asked(
    database: Database, scheduler: str, kind: str, body: Mapping[str, Any], what: str, request_id: str | None
) -> dict[str, Any]:
    """Send a request and wait a while: {message, request_id, held, answer (None: not yet)}. Refused: so it answered."""
    key = request_id or uuid.uuid4().hex
    if not storable(key) or not key.isprintable():
        raise click.UsageError("--request-id: expected text without control characters.")
    sent = written(database, ["messages"], _send, scheduler, key, kind, body, what)
    if not sent.held:
        warn(f"nobody who is up holds {scheduler} now; the request is kept (request id {key})")
    answer = polled(
        database, lambda conn: messages.answer_of(conn, sent.id), 0.1, ANSWER_TIMEOUT_S if sent.held else 1.0
    )
    if answer is not None and "error" in answer:
        raise Refused(f"{scheduler} refused the request: {answer.get('why') or answer['error']}")
    return {"message": sent.id, "request_id": key, "held": sent.held, "answer": answer}


def _send(conn: Any, scheduler: str, key: str, kind: str, body: Mapping[str, Any], what: str) -> messages.Sent:
    sent = messages.send(conn, scheduler, key, kind, body, who())
    if not sent.known:
        audit.record(conn, who(), kind.replace("_", " "), what)
    return sent


def kept(found: Mapping[str, Any], scheduler: str) -> str:
    """What is said of a request that has not been answered yet."""
    return f"{scheduler} has not answered yet; the request is kept (request id {found['request_id']})"


def time_given(option: str, text: str, zone_name: str) -> datetime:
    """A time in ISO 8601; without an offset it is one of that zone. UsageError names the option."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(
            f"{option}: expected a time such as 2026-03-01T02:00 or 2026-03-01T02:00+01:00, got {text!r}."
        ) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=zone_given(zone_name))


def zone_name_or_default(given: str | None) -> str:
    """The zone that is meant: the option's, or else that of the configuration, if there is one. UsageError."""
    if given is None:
        try:
            given = load_config(None).cluster.timezone
        except (OSError, ConfigError):  # the database is all that the command needs
            given = "UTC"
    zone_given(given)
    return given


def zone_given(name: str) -> Any:
    """The zone of that name. UsageError."""
    try:
        return zone(name)
    except ValueError as error:
        raise click.UsageError(f"--timezone: {error}.") from None


def span_given(begin: str, end: str, zone_name: str) -> tuple[int, int]:
    """(first, last) in microseconds of a time from ``begin`` to ``end``, both included. UsageError."""
    first, last = (to_instant(time_given(o, t, zone_name)) for o, t in (("FROM", begin), ("TO", end)))
    if last < first:
        raise click.UsageError(f"TO: {end} lies before FROM, {begin}.")
    return first, last
