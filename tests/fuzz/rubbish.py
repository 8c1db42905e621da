"""A database with something in every table, and what may be wrong with any of its values.

Rubbish gets in by a restored half of a backup, by a person with a SQL client, by a disk, or by a newer release. What the
database itself refuses (types, NOT NULL, checks, keys) is not tried further.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from locum.db import audit, holding, messages, orders, turns
from locum.db.database import Database
from locum.db.effects import Effects, NewBuildset, NewFailure, Stamp
from locum.db.schema import metadata
from locum.schedulers import Nightly
from locum.schedulers.describing import description_of

from ..contract.scene import change_numbers, execute, joined, refused, registered, standing_by

JSON_RUBBISH = (
    "", "{", "nul", "null", "3", '"text"', "[]", "[1]", "{}", '{"a": 1}', '{"a": [1, 2, 3]}', "NaN", "1e999", "9" * 5000,
    "[" * 100_000, '{"a":' * 100_000, '"\\ud800"', "\x00", '["\\ud800"]', '{"due": "x", "timer": 3}', '{"ok": false, "text": {}}',
)  # fmt: skip
TEXT_RUBBISH = (
    "",
    "x",
    "\x00",
    "\x1b[2J",
    "é" * 100_000,
    "unheard-of",
    "m1",
    "-1",
    "a,b",
    "\udcff".encode("utf-8", "surrogatepass"),
)
NUMBER_RUBBISH = (0, -1, 2**31, 2**63 - 1, -(2**63), "text", 1.5, b"\xff")
TABLES = {table.name: table for table in metadata.sorted_tables}


@dataclass(frozen=True, slots=True)
class Rubbish:
    """What is put where."""

    table: str
    column: str
    value: Any

    def __str__(self) -> str:
        return f"{self.table}.{self.column} = {self.value!r:.40}"

    def put(self, path: Path) -> bool:
        """Whether the database took it (in all rows of the table)."""
        raw = sqlite3.connect(path, isolation_level=None)
        try:
            raw.execute(f'UPDATE "{self.table}" SET "{self.column}" = ?', (self.value,))
            return True
        except (sqlite3.IntegrityError, OverflowError):
            return False
        finally:
            raw.close()


def every_rubbish() -> list[Rubbish]:
    """All that is worth a try, table by table."""
    found = []
    for name, table in TABLES.items():
        for column in table.columns:
            is_text = column.type.python_type is str
            if column.name.endswith("_json"):
                values: tuple[Any, ...] = JSON_RUBBISH
            else:
                values = TEXT_RUBBISH if is_text else NUMBER_RUBBISH
            found += [Rubbish(name, column.name, value) for value in (*values, None)]
    return found


TICKS = json.dumps({"rule": ["nightly", {"hour": 3}, "UTC"], "anchor": 1, "examined": 1_700_000_000_000_000})


def fill(db: Database) -> None:
    """Something in every table that a command or a master reads."""
    joined(db, "m1")
    joined(db, "m2")
    quick, other = registered(db, "quick", "other")
    registered(db, "app", kind="change_source")
    standing_by(db, "m1", quick, other)
    standing_by(db, "m2", quick)
    terms = {t.id: t.term for t in db.write(holding.take, "m1", [quick, other], "nobody held it")}
    numbers = change_numbers(db, "r1", "r2")
    execute(db, "INSERT INTO builders (name) VALUES ('unit') ON CONFLICT (name) DO NOTHING")
    builder = execute(db, "SELECT id FROM builders WHERE name = 'unit'")[0][0]
    stamp = Stamp.of(repository="r", branch="main", revision="rev")
    db.write(turns.add_stamps, [stamp])
    properties = json.dumps({"scheduler": ["quick", "Scheduler"]})
    effects = Effects(
        quick,
        terms[quick],
        begin_changes=True,
        state={"seen": "1", "status": '{"ok": false, "text": "no answer"}', "ticks": TICKS},
        about=(None, description_of(Nightly("quick", ["unit"], hour=3, timezone="UTC", onlyIfChanged=True), True)),
        timers={"tick": 1_700_000_000_000_000},
        classified={numbers["r1"]: True},
        buildsets=[
            NewBuildset(
                1,
                "quick",
                "why",
                properties,
                (stamp,),
                ((10, builder, 0),),
                changes=(numbers["r1"],),
                due_at=5,
                cause="message:1",
            )
        ],
        failures={"timer:tick": NewFailure('{"timer": "tick", "due": 5}', 1, 60_000_000, "E")},
    )
    assert refused(db, "m1", effects) == frozenset()
    db.write(messages.send, "quick", "k", "force", {"reason": "now"}, "ann")
    db.write(audit.record, "ann@host", "disable", "scheduler 'quick'", "")
    db.write(orders.ask_masters, "reconfig", ["m1"], "ann")
    now = "1700000000000000"
    for statement in (
        "UPDATE orders SET answer_json = '{\"ok\": true}', answered_at = 5",
        f"INSERT INTO failures (scheduler_id, cause, detail_json, attempts, first_at, last_at, error)"
        f" VALUES ({quick}, 'change:1', '{{\"change\": 1}}', 9, {now}, {now}, 'E')",
        f"INSERT INTO skips (scheduler_id, what, first, last, count, reason, at) VALUES ({quick}, 'ticks', 1, 5, 2, 'late', {now})",
        f"INSERT INTO steps (task_id, attempt, number, name, state, started_at) VALUES (10, 0, 0, 'shell', 'running', {now})",
        f"INSERT INTO log_chunks (task_id, attempt, step, sequence, at, text) VALUES (10, 0, 0, 0, {now}, 'line')",
        "INSERT INTO announcements (topic, version) VALUES ('tasks', 1) ON CONFLICT (topic) DO NOTHING",
    ):
        execute(db, statement)
