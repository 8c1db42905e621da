"""What people order from any host: enable, disable, move, rebalance, retry; and orders that masters answer (reconfig).

Whatever changes a scheduler's holder raises its term, so it is effective when its transaction has committed. Lock order:
the scheduler's row first, the commit-order counters last.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from . import audit, changes, messages, naming
from .effects import to_json
from .holding import note_blocked, record_ownership
from .naming import Named, NotFound, Refused
from .placing import evened
from .sql import Statement
from .stored import Unreadable, read_object

SYSTEM = "locum"
"""Who disables a scheduler when no person does."""
QUARANTINED = "quarantined: "
"""How the reason begins when the system has disabled a scheduler: a person must look at it."""


@dataclass(frozen=True, slots=True)
class Done:
    """A scheduler after an order. ``changed`` False: it was so already, and nothing was written."""

    id: int
    kind: str
    name: str
    changed: bool
    master: str | None = None
    answered: int = 0
    """how many waiting messages were answered by disabling it"""
    skipped: int = 0
    """how many changes will never reach it, because it was disabled"""


@dataclass(frozen=True, slots=True)
class Move:
    """One scheduler's change of place; names of masters."""

    kind: str
    name: str
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Asked:
    """An order that waits for its master's answer."""

    id: int
    incarnation: str
    master: str


@dataclass(frozen=True, slots=True)
class Order:
    """An order as its master sees it; ``made_at`` in microseconds."""

    id: int
    what: str
    made_at: int
    made_by: str


_DISABLE = Statement(
    "UPDATE schedulers SET enabled = false, disabled_why = :why, incarnation = NULL, term = term + 1, active_since = NULL"
    " WHERE id = :id"
)
_ENABLE = Statement(
    "UPDATE schedulers SET enabled = true, disabled_why = NULL, term = term + 1, blocked = 0, enabled_at = {now} WHERE id = :id"
)
_CURSORS = Statement(
    "UPDATE schedulers SET change_cursor = :change_cursor, finished_cursor = :finished_cursor WHERE id = :id"
)
_LOCK_FINISHED = Statement("SELECT value FROM counters WHERE name = 'finished' {lock}")
_PASSED_OVER = {
    "changes": Statement("SELECT count(*) FROM changes WHERE number > :old AND number <= :new"),
    "finished": Statement("SELECT count(*) FROM buildsets WHERE finished_number > :old AND finished_number <= :new"),
}
_SKIP = Statement(
    "INSERT INTO skips (scheduler_id, what, first, last, count, reason, at)"
    " VALUES (:id, :what, :first, :last, :count, 'disabled', {now})"
)
_FAILING = Statement("SELECT cause FROM failures WHERE scheduler_id = :id AND retry_at IS NOT NULL")
_FORGET = Statement(
    "DELETE FROM failures WHERE scheduler_id = :id AND cause IN (SELECT cause FROM {rows(cause text)} AS r)"
)
_LIVE = Statement(
    "SELECT m.incarnation, m.name, (SELECT count(*) FROM schedulers s WHERE s.incarnation = m.incarnation) AS held"
    " FROM masters m WHERE m.state = 'up' ORDER BY m.name"
)
_STANDS_BY = Statement("SELECT incarnation FROM standby WHERE scheduler_id = :id")
_HELD = Statement(
    "SELECT s.id, s.kind, s.name, s.incarnation FROM schedulers s JOIN masters m ON m.incarnation = s.incarnation"
    " WHERE s.enabled AND m.state = 'up'"
)
_STANDBYS = Statement(
    "SELECT b.scheduler_id, b.incarnation FROM standby b JOIN masters m ON m.incarnation = b.incarnation"
    " WHERE m.state = 'up'"
)
_LOCK_ROWS = Statement(
    "SELECT s.id FROM schedulers s JOIN {rows(id bigint, source text)} AS r ON r.id = s.id AND r.source = s.incarnation"
    " WHERE s.enabled ORDER BY s.id {lock_s}"
)
_MOVE = Statement(
    "UPDATE schedulers SET incarnation = r.target, term = schedulers.term + 1, active_since = {now}"
    " FROM {rows(id bigint, target text)} AS r WHERE schedulers.id = r.id"
    " AND EXISTS (SELECT 1 FROM masters m WHERE m.incarnation = r.target AND m.state = 'up') RETURNING schedulers.id"
)
_ASK = Statement(
    "INSERT INTO orders (incarnation, what, made_at, made_by)"
    " SELECT incarnation, :what, {now}, :who FROM {rows(incarnation text)} AS r WHERE true RETURNING id, incarnation"
)
_ANSWERS = Statement(
    "SELECT o.id, o.answer_json, m.state, ({lease_now} - m.lease_until) / 1000000 AS silent_s, m.lease_s"
    " FROM orders o JOIN {rows(id bigint)} AS r ON r.id = o.id LEFT JOIN masters m ON m.incarnation = o.incarnation"
)
_OPEN = Statement(
    "SELECT id, what, made_at, made_by FROM orders WHERE incarnation = :incarnation AND answered_at IS NULL ORDER BY id"
)
_ANSWER = Statement(
    "UPDATE orders SET answered_at = {now}, answer_json = :answer WHERE id = :id AND answered_at IS NULL"
)
_RETRY = Statement(
    "UPDATE failures SET retry_at = {now} WHERE scheduler_id = :id AND (:cause IS NULL OR cause = :cause) RETURNING cause"
)
_FAILURES = Statement(
    "SELECT cause, retry_at, detail_json FROM failures WHERE scheduler_id = :id AND (:cause IS NULL OR cause = :cause)"
)
_RAISE = Statement(
    "UPDATE schedulers SET term = term + 1, active_since = {now} WHERE id = :id AND incarnation IS NOT NULL"
)


def disable(conn: Connection, name: str, why: str, who: str, kind: str | None = None) -> Done:
    """Stop a scheduler or change source, effective at commit: no turn of it commits until it is enabled.

    Messages that wait are answered ``{"error": "disabled", ...}``. Timers, state and cursor stay. NotFound, Refused.
    """
    row = naming.lock(conn, name, kind)
    if not row.enabled:
        return Done(row.id, row.kind, row.name, False)
    _DISABLE(conn, id=row.id, why=why)
    record_ownership(conn, [row.id], f"disabled by {who}")
    answered = messages.answer_all(conn, row.id, {"error": "disabled", "why": why})
    _forget_failures(conn, row.id, {f"message:{number}" for number in answered})
    audit.record(conn, who, "disable", str(row), why)
    return Done(row.id, row.kind, row.name, True, answered=len(answered))


def quarantine(conn: Connection, name: str, why: str, kind: str | None = None) -> Done:
    """Disable what harms its masters, so that ``locum status`` asks for a person."""
    return disable(conn, name, QUARANTINED + why, SYSTEM, kind)


def blocked(conn: Connection, scheduler_id: int, name: str, kind: str, incarnation: str | None, seconds: float) -> int:
    """It has blocked its master's reactor, for the how manieth time; the second time it is quarantined.

    0: it was not counted, as ``incarnation`` does not hold it (any more). None: whoever holds it now.
    """
    times = note_blocked(conn, scheduler_id, incarnation)
    if times >= 2:
        quarantine(conn, name, f"it blocked its master's reactor twice, the last time for over {seconds:.0f} s", kind)
    return times


def enable(conn: Connection, name: str, who: str, reason: str = "", kind: str | None = None) -> Done:
    """Let it work again, from now on: changes and finished buildsets up to this commit are not for it (recorded).

    Holds the commit-order locks until COMMIT: make it the last call of a transaction.
    """
    row = naming.lock(conn, name, kind)
    if row.enabled:
        return Done(row.id, row.kind, row.name, False)
    _ENABLE(conn, id=row.id)
    record_ownership(conn, [row.id], f"enabled by {who}")
    audit.record(conn, who, "enable", str(row), reason)
    skipped = _move_cursors(conn, row)
    return Done(row.id, row.kind, row.name, True, skipped=skipped)


def _move_cursors(conn: Connection, row: Named) -> int:
    change, finished = row.change_cursor, row.finished_cursor
    if change is not None:
        change = changes.lock_order(conn)
    if finished is not None:
        finished = int(_LOCK_FINISHED(conn).scalar_one())
    _CURSORS(conn, id=row.id, change_cursor=change, finished_cursor=finished)
    _forget_passed(conn, row, {"change": (row.change_cursor, change), "finished": (row.finished_cursor, finished)})
    _record_passed(conn, row, "finished", row.finished_cursor, finished)
    return _record_passed(conn, row, "changes", row.change_cursor, change)


def _record_passed(conn: Connection, row: Named, what: str, old: int | None, new: int | None) -> int:
    """Record what is not for it because it was disabled; how many."""
    if old is None or new is None:
        return 0
    count = int(_PASSED_OVER[what](conn, old=old, new=new).scalar_one())
    if count:
        _SKIP(conn, id=row.id, what=what, first=old + 1, last=new, count=count)
    return count


def _forget_passed(conn: Connection, row: Named, spans: Mapping[str, tuple[int | None, int | None]]) -> None:
    """Forget the failures that waited for a retry of what now is not for it; set-aside ones lie before the old cursor."""
    passed = set()
    for cause in _FAILING(conn, id=row.id).scalars():
        stream, _, number = cause.partition(":")
        old, new = spans.get(stream, (None, None))
        if old is not None and new is not None and number.isdigit() and old < int(number) <= new:
            passed.add(cause)
    _forget_failures(conn, row.id, passed)


def _forget_failures(conn: Connection, scheduler_id: int, causes: Collection[str]) -> None:
    if causes:
        _FORGET.with_rows(conn, [(cause,) for cause in sorted(causes)], id=scheduler_id)


def move(conn: Connection, name: str, to: str | None, who: str, reason: str = "", kind: str | None = None) -> Done:
    """Give a scheduler to the master named ``to``, or to the least loaded other one that stands by for it.

    Refused: it is disabled, or no such master is up and stands by for it.
    """
    row = naming.lock(conn, name, kind)
    if not row.enabled:
        raise Refused(f"{row} is disabled, so nobody may hold it; 'locum scheduler enable {row.name}' first")
    able = set(_STANDS_BY(conn, id=row.id).scalars())
    live = list(_LIVE(conn))
    if to is None:
        others = [m for m in live if m.incarnation in able and m.incarnation != row.incarnation]
        if not others:
            raise Refused(f"no other master that is up stands by for {row}; start one that has it configured")
        target = min(others, key=lambda m: (m.held, m.name))
    else:
        target = _target(row, to, live, able)
    if target.incarnation == row.incarnation:
        return Done(row.id, row.kind, row.name, False, master=target.name)
    if not _MOVE.with_rows(conn, [(row.id, target.incarnation)]).all():
        raise Refused(f"master '{target.name}' has ended just now; {row} stays where it is")
    record_ownership(conn, [row.id], f"moved by {who}")
    audit.record(conn, who, f"move to {target.name}", str(row), reason)
    return Done(row.id, row.kind, row.name, True, master=target.name)


def _target(row: Named, to: str, live: Sequence[Any], able: Collection[str]) -> Any:
    target = next((m for m in live if m.name == to), None)
    up = ", ".join(m.name for m in live if m.incarnation in able) or "none"
    if target is None:
        raise Refused(f"no master named '{to}' is up; those that are up and stand by for {row}: {up}")
    if target.incarnation not in able:
        raise Refused(
            f"master '{to}' does not stand by for {row}: it is not in its configuration, or the master is starting just now;"
            f" those that are up and stand by for it: {up}"
        )
    return target


def rebalance(conn: Connection, who: str, reason: str = "") -> list[Move]:
    """Even out how many schedulers each master that is up holds, by as few moves as possible. What was moved."""
    names = {m.incarnation: m.name for m in _LIVE(conn)}
    standby: dict[int, list[str]] = {}
    for scheduler_id, incarnation in _STANDBYS(conn):
        standby.setdefault(scheduler_id, []).append(incarnation)
    held = {row.id: row for row in _HELD(conn)}
    able = {incarnation for some in standby.values() for incarnation in some}
    wanted = evened({i: row.incarnation for i, row in held.items()}, standby, able & set(names))
    if not wanted:
        return []
    locked = _LOCK_ROWS.with_rows(conn, [(i, source) for i, (source, _) in sorted(wanted.items())]).scalars()
    rows = [(i, wanted[i][1]) for i in locked]
    moved = sorted(_MOVE.with_rows(conn, rows).scalars())
    record_ownership(conn, moved, f"rebalanced by {who}")
    audit.record(conn, who, "rebalance", f"{len(moved)} schedulers", reason)
    return [Move(held[i].kind, held[i].name, *(names[incarnation] for incarnation in wanted[i])) for i in moved]


def ask_masters(conn: Connection, what: str, names: Iterable[str] | None, who: str, reason: str = "") -> list[Asked]:
    """Order ``what`` of the masters named, or of all that are up; they answer in the table. Refused: one is not up."""
    live = {m.name: m.incarnation for m in _LIVE(conn)}
    wanted = sorted(live) if names is None else list(dict.fromkeys(names))
    missing = [name for name in wanted if name not in live]
    if missing:
        up = ", ".join(live) or "none"
        raise Refused(f"no master named '{missing[0]}' is up; those that are up: {up}")
    if not wanted:
        return []
    by_incarnation = {live[name]: name for name in wanted}
    asked = _ASK.with_rows(conn, [(incarnation,) for incarnation in by_incarnation], what=what, who=who).all()
    audit.record(conn, who, what, ", ".join(wanted), reason)
    return sorted((Asked(i, inc, by_incarnation[inc]) for i, inc in asked), key=lambda a: a.master)


def answers(conn: Connection, ids: Iterable[int]) -> dict[int, dict[str, Any] | None]:
    """{order id: its answer, None for none yet}; of a master that ended without one, or whose lease has been over for as
    long again, so that it can only come back as another incarnation: ``{"error": ...}``."""
    found: dict[int, dict[str, Any] | None] = {}
    for order_id, answer, state, silent_s, lease_s in _ANSWERS.with_rows(conn, [(i,) for i in ids]):
        if answer is not None:
            found[order_id] = read_object(answer, f"answer_json of order {order_id}")
        elif state not in ("up", "stopping"):
            found[order_id] = {"error": f"the master ended ({state or 'unknown'}) before it answered"}
        elif silent_s > lease_s + 1:
            found[order_id] = {
                "error": f"nothing has been heard of the master, its lease ended {silent_s} s ago; see whether it runs"
            }
        else:
            found[order_id] = None
    return found


def open_orders(conn: Connection, incarnation: str) -> list[Order]:
    """What this master has been ordered and has not answered, oldest first."""
    return [Order(*row) for row in _OPEN(conn, incarnation=incarnation)]


def answer_order(conn: Connection, order_id: int, answer: Mapping[str, Any]) -> bool:
    """The master's answer. False: it has been answered before."""
    return bool(_ANSWER(conn, id=order_id, answer=to_json(dict(answer))).rowcount == 1)


def retry_failure(conn: Connection, name: str, cause: str | None, who: str, kind: str | None = None) -> list[str]:
    """Have a failed cause (None: all of them) tried again now; the causes. Raises the term, so its owner reads them anew.

    NotFound: it has no such failure.
    """
    row = naming.lock(conn, name, kind)
    causes = sorted(_RETRY(conn, id=row.id, cause=cause).scalars())
    _expect_failures(row, cause, causes)
    if causes:
        _RAISE(conn, id=row.id)
        record_ownership(conn, [row.id], f"failures retried by {who}")
        audit.record(conn, who, "retry", f"{row}", ", ".join(causes[:20]))
    return causes


def discard_failure(conn: Connection, name: str, cause: str | None, who: str, kind: str | None = None) -> list[str]:
    """Forget a cause that was set aside (None: all of them) for good; the causes.

    NotFound: it has no such failure. Refused: that cause is still being tried again, so it has not been passed yet.
    """
    row = naming.lock(conn, name, kind)
    found = list(_FAILURES(conn, id=row.id, cause=cause))
    _expect_failures(row, cause, [f.cause for f in found])
    aside = [f for f in found if f.retry_at is None or _is_aside(f.detail_json)]
    if cause is not None and not aside:
        raise Refused(f"{cause} of {row} is still being tried again; it can be discarded once it has been set aside")
    causes = sorted(f.cause for f in aside)
    if causes:
        _forget_failures(conn, row.id, causes)
        audit.record(conn, who, "discard", f"{row}", ", ".join(causes[:20]))
    if any(f.retry_at is not None for f in aside):  # its owner has been told to try it again
        _RAISE(conn, id=row.id)
        record_ownership(conn, [row.id], f"failures discarded by {who}")
    return causes


def _is_aside(detail_json: str) -> bool:
    try:
        return bool(read_object(detail_json, "detail_json of a failure").get("aside"))
    except Unreadable:
        return True  # nobody can try it again, but whoever discards it gets rid of it


def _expect_failures(row: Named, cause: str | None, found: Sequence[str]) -> None:
    if cause is not None and not found:
        raise NotFound(f"{row} has no failure '{cause}'; 'locum scheduler failures {row.name}' lists what it has")
