"""The product broken on purpose, in ways that masters of this kind have been: the simulation must notice each.

Every one says in which shape of story it shows, and what is stirred up so that it shows soon.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from locum.db import holding, members, orders, tasks, turns
from locum.db.sql import Statement
from locum.master import activation, alarms, committer, membership, seat, service
from locum.master.feed import Feed
from locum.master.tasks import lost
from locum.schedulers import timed

Patch = Callable[[], AbstractContextManager[Any]]
STIRRED_CHANCES = {"ghost": 0.02, "unknown": 0.01, "slow": 0.03, "freeze before": 0.004}
STIRRED_DEEDS = {"disable": 6.0, "move": 6.0, "stop": 20.0, "roll": 0.0, "outage": 0.0, "kill": 0.0, "clock": 0.0}
KILLS: dict[str, float] = {"kill": 8.0, "roll": 0.0, "outage": 0.0, "clock": 0.0}


@dataclass(frozen=True, slots=True)
class Breakage:
    """How the product is broken; ``promise``: how the violation begins that must be found, '' for any."""

    patch: Patch
    promise: str = ""
    shape: str = "dense"
    chances: dict[str, float] = field(default_factory=lambda: STIRRED_CHANCES)
    every: dict[str, float] = field(default_factory=lambda: STIRRED_DEEDS)
    peace: bool = False
    """it shows only when all is left in peace"""
    slow: bool = False
    """it takes long to show: for ``hunt --broken NAME``, not for every run of the tests"""


def _statement(module: Any, name: str, *replacements: tuple[str, str]) -> Patch:
    """A statement with parts of its text replaced, each of which must be there."""

    def patch() -> AbstractContextManager[Any]:
        text = getattr(module, name)._template
        for old, new in replacements:
            assert old in text, f"{name} has no {old!r} any more: mend this breakage"
            text = text.replace(old, new)
        return mock.patch.object(module, name, Statement(text))

    return patch


def _other(module: Any, name: str, value: Any) -> Patch:
    return lambda: mock.patch.object(module, name, value)


def _taking_what_is_held() -> AbstractContextManager[Any]:
    return mock.patch.multiple(
        holding,
        _TAKEABLE=Statement(holding._TAKEABLE._template.replace(holding._FREE, "s.enabled AND s.term < 9")),
        _LOCK_FREE=Statement(holding._LOCK_FREE._template.replace(holding._FREE, "s.enabled")),
        _TAKE=Statement(
            "UPDATE schedulers SET incarnation = :incarnation, active_since = {now}"
            " WHERE id IN (SELECT id FROM {rows(id bigint)} AS r) AND enabled"
            f" RETURNING {holding._TAKE._template.split('RETURNING')[1]}"
        ),
    )


def _unknown_is_committed(self: committer.Committer, group: Any, why: str, *, unknown: bool = False) -> None:
    if unknown:
        self._tell(group, turns.Committed(frozenset(), None, None))
    else:
        _FAIL(self, group, why)


_FAIL = committer.Committer._fail
_TRUST = membership.Membership._trust
_DECIDE = timed.decide
_REQUEUE_FORGOTTEN = tasks.requeue_forgotten
_OUTLOOK = tasks.outlook
_AFTER = Feed.after


def _trust_from_the_answer(self: membership.Membership, asked_at: float) -> None:
    _TRUST(self, self._surroundings.boottime())


async def _judge_by_silence(self: membership.Membership, master: members.Master, silent_s: float) -> None:
    if silent_s >= self.times.heartbeat_s + 1.0:
        await self._declare(master, "it is silent", lease_ended=False)


def _since_active(rule: Any, policy: Any, examined: int, now: int, active_since: int, *more: Any) -> Any:
    return _DECIDE(rule, policy, max(examined, min(active_since, now)), now, active_since, *more)


def _requeue_everything(conn: Any, incarnation: str, forgotten: Any) -> int:
    return _REQUEUE_FORGOTTEN(conn, incarnation, tasks.held(conn, incarnation))


_requeue_everything.__name__ = "requeue_forgotten"


def _what_is_held_overlooked(conn: Any, incarnation: str, builder_ids: Any) -> tasks.Outlook:
    return tasks.Outlook(frozenset(), _OUTLOOK(conn, incarnation, builder_ids).queued)


_what_is_held_overlooked.__name__ = "outlook"


def _skipping_one(self: Feed[Any], number: int) -> Any:
    return _AFTER(self, number + 1 if number % 7 == 0 else number)


@asynccontextmanager
async def _no_turn(self: seat.Seat) -> Any:
    self._there()
    yield


def _any_room(conn: Any, names: Any, most: int) -> list[tuple[int, int]]:
    return [(i, most) for i in names]


def _held_at_once(self: lost.LostTasks, holder: Any, watched_s: float) -> str:
    return "runner lost: silent" if holder.silent_us > 3_000_000 else ""


BREAKAGES: dict[str, Breakage] = {
    "no fence": Breakage(
        _other(
            turns, "_FENCE", Statement("SELECT id FROM {rows(id bigint, term bigint)} AS r WHERE :incarnation <> ''")
        ),
        "P",
    ),
    "fence one term late": Breakage(_statement(turns, "_FENCE", ("r.term = s.term", "r.term >= s.term - 1")), "P2"),
    "taking without a new term": Breakage(_statement(holding, "_TAKE", ("term = term + 1, ", "")), "P1"),
    "retaking without a new term": Breakage(
        _statement(holding, "_RETAKE", ("term = term + 1, ", "")),
        "P",
        chances={"ghost commit": 0.2, "slow turn": 0.1},
        every={"disable": 0.0, "kill": 0.0, "outage": 0.0, "roll": 0.0},
    ),
    "releasing by name only": Breakage(
        _statement(
            holding,
            "_RELEASE",
            (" AND schedulers.incarnation = :incarnation", " AND :incarnation <> ''"),
            (" AND schedulers.term = r.term", ""),
        ),
        "P1",
        chances={**STIRRED_CHANCES, "freeze before _release_and_announce": 0.5},
    ),
    "taking what is held": Breakage(_taking_what_is_held, "P1"),
    "disabling without a new term": Breakage(
        _statement(orders, "_DISABLE", ("incarnation = NULL, term = term + 1", "incarnation = NULL")), "P1"
    ),
    "moving without a new term": Breakage(_statement(orders, "_MOVE", ("term = schedulers.term + 1, ", "")), "P1"),
    "lost by silence alone": Breakage(
        _other(membership.Membership, "_judge", _judge_by_silence),
        "P1",
        chances={"slow": 0.05},
        every={"freeze": 4.0, "cut off": 6.0, "clock": 0.0},
    ),
    "trust from the answer on": Breakage(
        _other(membership.Membership, "_trust", _trust_from_the_answer),
        "P1",
        chances={"slow beat": 0.6, "kill before": 0.0, "kill after": 0.0},
        every={"cut off": 3.0, "freeze": 8.0, "clock": 0.0, "kill": 0.0},
    ),
    "history not written": Breakage(
        _other(holding, "_RECORD", Statement("SELECT :why FROM {rows(id bigint)} AS r")), "P1"
    ),
    "cursor left behind": Breakage(
        _statement(
            turns,
            "_ROW",
            ("coalesce(r.change_to, change_cursor)", "change_cursor"),
            ("r.change_from IS NULL OR change_cursor = r.change_from", "1 = 1"),
        ),
        "P3",
    ),
    "cursor run ahead": Breakage(
        _statement(
            turns,
            "_ROW",
            (
                "coalesce(r.change_to, change_cursor)",
                "(SELECT CASE WHEN r.change_to IS NULL THEN change_cursor ELSE value END FROM counters WHERE name = 'changes')",
            ),
        ),
        "P3",
    ),
    "finished cursor left behind": Breakage(
        _statement(
            turns,
            "_ROW",
            ("coalesce(r.finished_to, finished_cursor)", "finished_cursor"),
            ("r.finished_from IS NULL OR finished_cursor = r.finished_from", "1 = 1"),
        ),
        "P3",
        shape="tasks",
    ),
    "a change passed over": Breakage(_other(Feed, "after", _skipping_one), "P3"),
    "enabling off the record": Breakage(_other(orders, "_SKIP", Statement("SELECT :id, :first, :last, :count")), "P3"),
    "a source's turn in pieces": Breakage(
        _other(seat.Seat, "turn", _no_turn), "P", chances={"unknown commit": 0.2}, every=KILLS
    ),
    "ticks since it is active": Breakage(_other(timed, "decide", _since_active), "P4", every=KILLS),
    "the calendar in UTC": Breakage(
        _other(timed.Nightly, "rule", lambda self, anchor: self._rule_in("UTC")),
        "P4",
        shape="long",
        chances={},
        every={},
    ),
    "a fired timer stays": Breakage(
        _statement(
            turns,
            "_FIRED_TIMERS",
            ("DELETE FROM timers WHERE", "SELECT scheduler_id, key FROM timers WHERE"),
            (" RETURNING scheduler_id, key", ""),
        ),
        "",
        peace=True,
        slow=True,
    ),
    "state forgotten": Breakage(
        _other(turns, "_STATE", Statement("DELETE FROM scheduler_state WHERE :rows = '' AND scheduler_id IS NULL")), "P"
    ),
    "unknown taken for committed": Breakage(_other(committer.Committer, "_fail", _unknown_is_committed), ""),
    "room is never said": Breakage(_other(alarms.Alarms, "go_on", lambda self: None), "", peace=True),
    "dirty instances": Breakage(_other(activation.Activation, "_put_fresh", lambda *_: None), "P5"),
    "messages asked again": Breakage(
        _other(
            turns,
            "_ANSWER",
            Statement("SELECT id FROM {rows(id bigint, scheduler_id bigint, answer text)} AS r"),
        ),
        "",
        every={"force": 3.0},
        peace=True,
        slow=True,
    ),
    "anybody records results": Breakage(
        _statement(tasks, "_LOCK_MINE", ("s.incarnation = :incarnation", ":incarnation <> ''")),
        "P6",
        shape="tasks",
        chances={"slow": 0.05, "freeze after": 0.004},
        every={"freeze": 6.0, "cut off": 6.0, "clock": 0.0},
        slow=True,
    ),
    "claiming past the limit": Breakage(
        _other(tasks, "_rooms", _any_room), "P6", shape="tasks", chances={}, every={"change": 0.5}
    ),
    "lost too early": Breakage(
        _other(lost.LostTasks, "_why_lost", _held_at_once),
        "P6",
        shape="tasks",
        chances={"freeze after": 0.004},
        every={"cut off": 4.0, "freeze": 6.0, "clock": 0.0},
    ),
    "running tasks queued again": Breakage(
        _other(tasks, "requeue_forgotten", _requeue_everything),
        "P6",
        shape="tasks",
        chances={"unknown claim": 0.3, "lost claim": 0.3},
        every={"clock": 0.0},
    ),
    "a claim committed late overlooked": Breakage(
        _other(tasks, "outlook", _what_is_held_overlooked),
        "",
        shape="tasks",
        chances={"ghost claim": 0.2},
        every={"change": 1.0, "clock": 0.0},
        peace=True,
        slow=True,
    ),
    "reconfiguring touches everything": Breakage(
        _other(service, "compared", lambda instance: object()), "P8", chances={}, every={"reconfigure": 5.0}
    ),
}
