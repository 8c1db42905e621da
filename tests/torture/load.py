"""Those who use the product while it is tortured: writers of changes, people who give orders, and one who looks.

Each writes down what it is about to ask before it asks, and the answer after. A request without a clear answer is
repeated until there is one, so that in the end as little as possible is unknown.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from locum.db import changes, messages, orders, wakeups
from locum.db.database import Bounds, Database
from locum.db.errors import DatabaseAway, DatabaseError
from locum.db.naming import Refused
from locum.db.urls import DatabaseUrl
from locum.master.changes import validated
from locum.tests.support.cluster import CLOCKS
from sqlalchemy import text
from sqlalchemy.engine import Connection

from . import configuration
from .history import (
    ChangeAnswered,
    ChangeAsked,
    History,
    OrderAnswered,
    OrderAsked,
    Outcome,
    Seen,
    now,
)
from .masters import Masters

WHO = "torture"
COMMAND_S = 20.0
ANSWER_S = 15.0
WHOLE_S = 30.0
_FILES = ("src/a.c", "src/b.c", "doc/index.md", "doc/faq.md", "Makefile")
_WEIGHTS = (6, 3, 3, 2, 2, 1)  # of configuration.BRANCHES


@dataclass(frozen=True, slots=True)
class Rates:
    """Seconds between two doings of each, on average. Two cores that others use, too, carry these."""

    change_s: float = 8.0
    batch_s: float = 30.0
    order_s: float = 2.0
    command_s: float = 10.0
    reconfigure_s: float = 20.0
    look_s: float = 0.5


def rates(load: float) -> Rates:
    """``load`` times as many changes as usual."""
    usual = Rates()
    return replace(usual, change_s=usual.change_s / load, batch_s=usual.batch_s / load)


class Load:
    """All of them, each in a thread of its own, until ``end``."""

    def __init__(self, masters: Masters, url: DatabaseUrl, truth: History, seed: int, rates: Rates) -> None:
        self._masters = masters
        self._url = url
        self._truth = truth
        self._ids = _Ids()
        self._over = threading.Event()
        self._looking_over = threading.Event()
        self.troubles: list[str] = []
        """tracebacks of what should never happen here: a fault of the torture, or an error of the product that no type covers"""

        def rng(who: str) -> random.Random:
            return random.Random(f"{seed}/{who}")

        toggled = configuration.toggled()
        everybody = sorted(configuration.entries())
        steps: list[tuple[str, float, Callable[[Database, random.Random], None]]] = [
            ("ann", rates.change_s, self._change("ann")),
            ("bob", rates.change_s * 2, self._change("bob")),
            ("cat", rates.batch_s, self._batch("cat", masters.names[0])),
            ("dan", rates.batch_s * 2, self._batch("dan", masters.names[-1])),
            ("eve", rates.order_s, self._order(toggled[::2], everybody, self._by_function)),
            ("fay", rates.command_s, self._order(toggled[1::2], everybody, self._by_command)),
            ("gus", rates.reconfigure_s, self._reconfigure),
        ]
        self._threads = [
            threading.Thread(target=self._work, args=(self._over, who, every, step, rng(who)), name=who)
            for who, every, step in steps
        ]
        self._looker = threading.Thread(
            target=self._work, args=(self._looking_over, "looker", rates.look_s, self._look, rng("looker"))
        )

    def begin(self) -> None:
        for thread in (*self._threads, self._looker):
            thread.start()

    def end(self) -> None:
        """No more requests; those under way are answered first. The looker looks on."""
        self._over.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def make_whole(self) -> None:
        """Enable whatever is disabled, and give all masters the configuration that they began with, as often as it takes."""
        for name in self._masters.names:
            self._masters.configure(name, 0)
        with self._database() as database:
            for name in configuration.toggled():
                self._until_done(database, "enable", name, {}, self._by_function)
            for name in self._masters.names:
                self._until_done(database, "reconfigure", "", {"master": name, "variant": 0}, self._by_asking)

    def _until_done(self, database: Database, action: str, name: str, args: dict[str, Any], by: _Way) -> None:
        end = time.monotonic() + WHOLE_S
        while self._once(database, action, name, args, by) != "yes" and time.monotonic() < end:
            time.sleep(0.5)

    def look(self) -> None:
        """Look once more, whoever else does."""
        with self._database() as database:
            self._look(database, random.Random())

    def close(self) -> None:
        """All of it ends."""
        self.end()
        self._looking_over.set()
        if self._looker.is_alive():
            self._looker.join()

    # -- a thread -----------------------------------------------------------------------------------------------------

    def _work(
        self,
        over: threading.Event,
        who: str,
        every_s: float,
        step: Callable[[Database, random.Random], None],
        rng: random.Random,
    ) -> None:
        with self._database() as database:
            while not over.wait(rng.uniform(0.5, 1.5) * every_s):
                try:
                    step(database, rng)
                except Exception:
                    self.troubles.append(f"{who}: {traceback.format_exc()}")

    def _database(self) -> _Opened:
        bounds = Bounds(connect_s=3.0, lock_s=10.0)
        return _Opened(Database(self._url, clocks=CLOCKS, label="torture", pool_size=1, bounds=bounds))

    # -- changes ------------------------------------------------------------------------------------------------------

    def _change(self, writer: str) -> Callable[[Database, random.Random], None]:
        """One change by the product's own function."""

        def step(database: Database, rng: random.Random) -> None:
            (fields,) = self._asked(writer, rng, 1)
            while True:
                outcome, number, said = _added(database, fields)
                if outcome == "yes" or self._over.wait(0.3):
                    break
            self._truth.add(ChangeAnswered(now(), fields["request_id"], outcome, number, said))

        return step

    def _batch(self, writer: str, master: str) -> Callable[[Database, random.Random], None]:
        """Some changes by ``locum change add --json -``, with a master's own configuration."""

        def step(database: Database, rng: random.Random) -> None:
            batch = self._asked(writer, rng, rng.randint(1, 4))
            given = "\n".join(json.dumps(fields) for fields in batch)
            while True:
                outcome, said = self._command("--config", str(self._masters.file(master)), *_ADD, given=given)
                if outcome == "yes" or self._over.wait(0.3):
                    break
            for fields in batch:
                self._truth.add(ChangeAnswered(now(), fields["request_id"], outcome, None, said))

        return step

    def _asked(self, writer: str, rng: random.Random, count: int) -> list[dict[str, Any]]:
        batch = []
        for _ in range(count):
            request = f"{writer}-{self._ids.next(writer)}"
            fields = {
                "request_id": request,
                "who": writer,
                "revision": request,
                "branch": rng.choices(configuration.BRANCHES, _WEIGHTS)[0],
                "category": rng.choice(configuration.CATEGORIES),
                "files": rng.sample(_FILES, rng.randint(1, 3)),
                "comments": f"change {request}",
            }
            self._truth.add(ChangeAsked(now(), request, writer, fields))
            batch.append(fields)
        return batch

    # -- orders -------------------------------------------------------------------------------------------------------

    def _order(self, toggled: list[str], everybody: list[str], by: _Way) -> Callable[[Database, random.Random], None]:
        """One order; only this thread enables and disables those of ``toggled``."""
        disabled: set[str] = set()
        others = [name for name in everybody if name not in configuration.toggled()]

        def step(database: Database, rng: random.Random) -> None:
            action = rng.choices(("toggle", "move", "force", "rebalance"), (5, 4, 3, 3))[0]
            name, args = "", {}
            if action == "toggle":
                name = rng.choice(toggled)
                action = "enable" if name in disabled else "disable"
            elif action == "move":
                name = rng.choice(others)
                args = {"to": rng.choice(self._masters.names)}
            elif action == "force":
                name = rng.choice([n for n in others if n != "var-sometimes"])
                args = {"key": f"force-{self._ids.next('force')}"}
            while True:
                outcome = self._once(database, action, name, args, by)
                if outcome == "yes" and action in ("enable", "disable"):
                    (disabled.add if action == "disable" else disabled.discard)(name)
                # A move that is repeated moves nothing, one to nowhere that was refused is over.
                if outcome != "unknown" or self._over.wait(0.3):
                    return

        return step

    def _once(self, database: Database, action: str, name: str, args: dict[str, Any], by: _Way) -> Outcome:
        id = f"order-{self._ids.next('order')}"
        self._truth.add(OrderAsked(now(), id, action, name, args))
        outcome, said, detail = by(database, action, name, args)
        self._truth.add(OrderAnswered(now(), id, outcome, said, detail))
        return outcome

    def _by_function(self, database: Database, action: str, name: str, args: dict[str, Any]) -> _Answer:
        try:
            if action == "force":
                return self._forced(database, name, args["key"])
            done = database.write(_ORDERS[action], name, args)
            _announce(database, "schedulers")
        except (Refused, DatabaseAway) as error:
            return "no" if isinstance(error, Refused) else "unknown", str(error), {}
        except DatabaseError as error:
            return "unknown", str(error), {}
        return "yes", str(done), {}

    def _forced(self, database: Database, name: str, key: str) -> _Answer:
        body = {"reason": key, "owner": WHO, "properties": {}, "builderNames": None, "priority": None}
        body |= dict.fromkeys(("branch", "revision", "repository", "project", "codebase"))
        sent = database.write(messages.send, name, key, "force", body, WHO)
        _announce(database, "messages")
        for _ in range(int(ANSWER_S / 0.2)):
            answer = database.read(messages.answer_of, sent.id)
            if answer is not None:
                outcome: Outcome = "no" if "error" in answer else "yes"
                return outcome, json.dumps(answer), {"buildset": answer.get("buildset")}
            if self._over.wait(0.2):
                break
        return "unknown", "no answer yet", {}

    def _by_command(self, database: Database, action: str, name: str, args: dict[str, Any]) -> _Answer:
        words = {
            "enable": ["scheduler", "enable", name],
            "disable": ["scheduler", "disable", name, "--reason", "torture"],
            "move": ["scheduler", "move", name, "--to", args.get("to", "")],
            "force": ["force", name, "--request-id", args.get("key", ""), "--reason", args.get("key", ""), "--json"],
            "rebalance": ["rebalance"],
        }[action]
        outcome, said = self._command(*words)
        detail: dict[str, Any] = {}
        if action == "force" and outcome == "yes":
            detail = {"buildset": json.loads(said).get("buildset")}
            outcome = "yes" if detail["buildset"] else "unknown"
        return outcome, said, detail

    def _command(self, *words: str, given: str | None = None) -> tuple[Outcome, str]:
        try:
            done = self._masters.cluster.locum(*words, given=given, code=None, bound_s=COMMAND_S)
        except subprocess.TimeoutExpired:
            return "unknown", f"no answer within {COMMAND_S} s"
        if "defect" in done.stderr or done.returncode not in (0, 1, 3):
            self.troubles.append(f"locum {' '.join(words)}: exit {done.returncode}: {done.stderr}")
        outcome: Outcome = "yes" if done.returncode == 0 else "no" if done.returncode == 1 else "unknown"
        return outcome, (done.stdout + done.stderr)[-2000:]

    # -- reconfiguring ------------------------------------------------------------------------------------------------

    def _reconfigure(self, database: Database, rng: random.Random) -> None:
        """Another configuration for one master or all: by an order, or by SIGHUP."""
        names = self._masters.names if rng.random() < 0.6 else (rng.choice(self._masters.names),)
        variant, by_signal = rng.randint(0, 7), rng.random() < 0.5
        for name in names:
            self._masters.configure(name, variant)
        for name in names:
            args = {"master": name, "variant": variant}
            way = self._by_signal if by_signal else self._by_asking
            self._once(database, "reconfigure", "", args, way)

    def _by_signal(self, database: Database, action: str, name: str, args: dict[str, Any]) -> _Answer:
        sent = self._masters.up(args["master"]) and self._masters.signal(args["master"], signal.SIGHUP)
        return ("unknown", "SIGHUP was sent", {}) if sent else ("no", "it does not run", {})

    def _by_asking(self, database: Database, action: str, name: str, args: dict[str, Any]) -> _Answer:
        try:
            asked = database.write(orders.ask_masters, "reconfig", [args["master"]], WHO)
            _announce(database, "orders")
            ids = [one.id for one in asked]
            for _ in range(int(ANSWER_S / 0.2)):
                (answer,) = database.read(orders.answers, ids).values()
                if answer is not None:
                    return "no" if "error" in answer else "yes", json.dumps(answer), {}
                time.sleep(0.2)
        except Refused as error:
            return "no", str(error), {}
        except DatabaseError as error:
            return "unknown", str(error), {}
        return "unknown", "no answer yet", {}

    # -- looking ------------------------------------------------------------------------------------------------------

    def _look(self, database: Database, rng: random.Random) -> None:
        asked = now()
        try:
            found = database.read(_seen)
        except DatabaseError:
            return
        self._truth.add(Seen(asked, now(), found))


_Answer = tuple[Outcome, str, dict[str, Any]]
_Way = Callable[[Database, str, str, dict[str, Any]], _Answer]
_ADD = ("change", "add", "--json", "-")
_ORDERS: dict[str, Callable[[Connection, str, dict[str, Any]], Any]] = {
    "enable": lambda conn, name, args: orders.enable(conn, name, WHO, "torture"),
    "disable": lambda conn, name, args: orders.disable(conn, name, "torture", WHO),
    "move": lambda conn, name, args: orders.move(conn, name, args["to"], WHO),
    "rebalance": lambda conn, name, args: orders.rebalance(conn, WHO),
}


class _Opened:
    """A database that is closed at the end."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __enter__(self) -> Database:
        return self._database

    def __exit__(self, *_: object) -> None:
        self._database.close()


class _Ids:
    """Numbers from 1, one series for each name, from any thread."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        self._lock = threading.Lock()

    def next(self, name: str) -> int:
        with self._lock:
            self._last[name] = self._last.get(name, 0) + 1
            return self._last[name]


def _added(database: Database, fields: dict[str, Any]) -> tuple[Outcome, int | None, str]:
    try:
        numbers = database.write(changes.add, [validated(fields)])
    except DatabaseError as error:
        return "unknown", None, str(error)
    _announce(database, "changes")
    return "yes", numbers[fields["request_id"]], ""


def _announce(database: Database, *topics: str) -> None:
    try:
        database.single(wakeups.announce, list(topics))
    except DatabaseError:
        pass


def _seen(conn: Connection) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for row in conn.execute(text("SELECT id, name, enabled, incarnation, term, turns, change_cursor FROM schedulers")):
        found[row.name] = {
            "enabled": bool(row.enabled),
            "incarnation": row.incarnation,
            "term": row.term,
            "turns": row.turns,
            "change_cursor": row.change_cursor,
            "state": {},
        }
    state = "SELECT s.name, t.key, t.value_json FROM scheduler_state t JOIN schedulers s ON s.id = t.scheduler_id"
    for row in conn.execute(text(state)):
        if row.name in found:
            found[row.name]["state"][row.key] = json.loads(row.value_json)
    return found


def names_of(found: Iterable[str]) -> str:
    """Some of them, for a message."""
    some = sorted(found)
    return ", ".join(some[:8]) + (f" and {len(some) - 8} more" if len(some) > 8 else "")
