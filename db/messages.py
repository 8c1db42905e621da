"""Messages: durable requests to a scheduler (force, trigger, run now), kept until a turn of it has answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from . import naming
from .effects import to_json
from .naming import Disabled, NotFound
from .sql import Statement
from .stored import Unreadable, read_object, read_value


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that is kept. ``known``: a request with this key was there before; ``held``: a live master has the scheduler."""

    id: int
    known: bool
    enabled: bool
    held: bool


@dataclass(frozen=True, slots=True)
class Message:
    """A request that waits for its answer. ``made_at`` in microseconds. ``fault``: why its body cannot be read."""

    id: int
    scheduler_id: int
    key: str
    kind: str
    body: dict[str, Any]
    made_at: int
    made_by: str
    fault: str = ""


_KNOWN = Statement("SELECT id FROM messages WHERE scheduler_id = :scheduler_id AND key = :key")
_ID = Statement("UPDATE counters SET value = value + 1 WHERE name = 'messages' RETURNING value")
_INSERT = Statement(
    "INSERT INTO messages (id, scheduler_id, key, kind, body_json, made_at, made_by)"
    " VALUES (:id, :scheduler_id, :key, :kind, :body, {now}, :made_by)"
)
_HELD = Statement(
    "SELECT count(*) FROM masters WHERE incarnation = :incarnation AND state IN ('up', 'stopping')"
    " AND lease_until >= {lease_now}"
)
_COLUMNS = "SELECT m.id, m.scheduler_id, m.key, m.kind, m.body_json, m.made_at, m.made_by FROM messages m"
_WAITING = Statement(
    _COLUMNS + " WHERE m.scheduler_id IN (SELECT id FROM {rows(id bigint)} AS r) AND m.answered_at IS NULL"
    " AND m.id > :after ORDER BY m.id LIMIT :most"
)
_WAITING_FOR = Statement(
    _COLUMNS + " JOIN schedulers s ON s.id = m.scheduler_id WHERE s.incarnation = :incarnation"
    " AND m.answered_at IS NULL AND m.id > :after ORDER BY m.id LIMIT :most"
)
_ANSWER_OF = Statement("SELECT answer_json FROM messages WHERE id = :id")
_ANSWERS_OF = Statement("SELECT m.id, m.answer_json FROM messages m JOIN {rows(id bigint)} AS r ON r.id = m.id")
_ANSWER_ALL = Statement(
    "UPDATE messages SET answered_at = {now}, answer_json = :answer"
    " WHERE scheduler_id = :scheduler_id AND answered_at IS NULL RETURNING id"
)


def send(conn: Connection, scheduler_name: str, key: str, kind: str, body: Mapping[str, Any], made_by: str) -> Sent:
    """Keep a request until a turn of the scheduler has answered it; a repeated ``key`` is the same request.

    NotFound: no such scheduler. Disabled: it answers nobody (but a key sent before is still found). The scheduler's row
    is locked, so that disabling it comes either before, and this is refused, or after, and answers it. Ids are in
    commit order.
    """
    scheduler = naming.lock(conn, scheduler_name, "scheduler")
    held = scheduler.incarnation is not None and bool(_HELD(conn, incarnation=scheduler.incarnation).scalar_one())
    known = _KNOWN(conn, scheduler_id=scheduler.id, key=key).scalar_one_or_none()
    if known is not None:
        return Sent(known, True, scheduler.enabled, held)
    if not scheduler.enabled:
        why = f" ({scheduler.disabled_why})" if scheduler.disabled_why else ""
        raise Disabled(f"{scheduler} is disabled{why}; 'locum scheduler enable {scheduler.name}' lets it work again")
    number = int(_ID(conn).scalar_one())
    _INSERT(conn, id=number, scheduler_id=scheduler.id, key=key, kind=kind, body=to_json(dict(body)), made_by=made_by)
    return Sent(number, False, True, held)


def waiting(conn: Connection, scheduler_ids: Iterable[int], after_id: int = 0, most: int = 500) -> list[Message]:
    """Unanswered messages to these schedulers, in the order in which they came."""
    rows = [(i,) for i in scheduler_ids]
    return [_message(row) for row in _WAITING.with_rows(conn, rows, after=after_id, most=most)] if rows else []


def waiting_for(conn: Connection, incarnation: str, after_id: int = 0, most: int = 500) -> list[Message]:
    """Unanswered messages to whatever ``incarnation`` holds, in the order in which they came."""
    return [_message(row) for row in _WAITING_FOR(conn, incarnation=incarnation, after=after_id, most=most)]


def answer_of(conn: Connection, message_id: int) -> dict[str, Any] | None:
    """What a turn answered; None: nothing yet. NotFound: there is no such message (any more)."""
    row = _ANSWER_OF(conn, id=message_id).one_or_none()
    if row is None:
        raise NotFound(f"there is no message {message_id}")
    return None if row.answer_json is None else _answer(row.answer_json, message_id)


def answers_of(conn: Connection, message_ids: Iterable[int]) -> dict[int, dict[str, Any] | None]:
    """{message id: what a turn answered, None for nothing yet}; a message that is not there (any more) is missing."""
    found = _ANSWERS_OF.with_rows(conn, [(i,) for i in message_ids])
    return {row.id: None if row.answer_json is None else _answer(row.answer_json, row.id) for row in found}


def answer_all(conn: Connection, scheduler_id: int, answer: Mapping[str, Any]) -> list[int]:
    """Give all that wait for this scheduler the same answer; the ids of those answered now."""
    return list(_ANSWER_ALL(conn, scheduler_id=scheduler_id, answer=to_json(dict(answer))).scalars())


def _message(row: Any) -> Message:
    body, fault = {}, ""
    try:
        body = read_object(row.body_json, f"body_json of message {row.id}")
    except Unreadable as error:  # the others must be answered all the same
        fault = str(error)
    return Message(row.id, row.scheduler_id, row.key, row.kind, body, row.made_at, row.made_by, fault)


def _answer(text: str, message_id: int) -> dict[str, Any]:
    value = read_value(text, f"answer_json of message {message_id}")
    return value if isinstance(value, dict) else {"answer": value}
