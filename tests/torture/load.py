"""Those who use the product while it is tortured: writers of changes, people who give orders, and one who looks.

Each writes down what it is about to ask before it asks, and the answer after. A request without a clear answer is
repeated until there is one, so that in the end as little as possible is unknown.
"""

from __future__ import annotations

import json
import random
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from locum.db import changes, orders
from locum.db.database import Database
from locum.db.errors import DatabaseAway, DatabaseError
from locum.db.naming import Refused
from locum.db.urls import DatabaseUrl
from locum.master.changes import validated
from sqlalchemy import text
from sqlalchemy.engine import Connection

from . import configuration
from .asking import ANSWER_S, WHO, Answer, Asker, Way
from .history import ChangeAnswered, ChangeAsked, History, Outcome, Seen, now
from .load_commits import Commits
from .load_schedules import Stored
from .load_wishes import Wishes
from .masters import Masters

WHOLE_S = 30.0
_FILES = ("src/a.c", "src/b.c", "doc/index.md", "doc/faq.md", "Makefile")
_WEIGHTS = (6, 3, 3, 2, 2, 1)  # of configuration.BRANCHES
_BODY = dict.fromkeys(("builderNames", "priority", "branch", "revision", "repository", "project", "codebase"))

Step = Callable[[Database, random.Random], None]


@dataclass(frozen=True, slots=True)
class Rates:
    """Seconds between two doings of each, on average. Two cores that others use, too, carry these."""

    change_s: float = 8.0
    batch_s: float = 30.0
    commits_s: float = 15.0
    order_s: float = 2.0
    command_s: float = 12.0
    wish_s: float = 5.0
    wish_command_s: float = 20.0
    schedule_s: float = 4.0
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
        self._truth = truth
        self._asker = Asker(masters, url, truth)
        self._looking_over = threading.Event()
        self._commits = Commits(self._asker)
        self._wishes = Wishes(self._asker)
        self._stored = Stored(self._asker)

        def rng(who: str) -> random.Random:
            return random.Random(f"{seed}/{who}")

        toggled = configuration.toggled()
        steps: list[tuple[str, float, Step]] = [
            ("ann", rates.change_s, self._change("ann")),
            ("bob", rates.change_s * 2, self._change("bob")),
            ("cat", rates.batch_s, self._batch("cat", masters.names[0])),
            ("dan", rates.batch_s * 2, self._batch("dan", masters.names[-1])),
            ("gil", rates.commits_s, self._commits.push),
            ("eve", rates.order_s, self._order(toggled[::2], self._by_function)),
            ("fay", rates.command_s, self._order(toggled[1::2], self._by_command)),
            ("hal", rates.wish_s, self._wishes.step(by_command=False)),
            ("ida", rates.wish_command_s, self._wishes.step(by_command=True)),
            ("joe", rates.schedule_s, self._stored.step),
            ("gus", rates.reconfigure_s, self._reconfigure),
        ]
        self._threads = [
            threading.Thread(target=self._work, args=(self._asker.over, every, step, rng(who)), name=who)
            for who, every, step in steps
        ]
        self._looker = threading.Thread(
            target=self._work, args=(self._looking_over, rates.look_s, self._look, rng("looker")), name="looker"
        )

    @property
    def troubles(self) -> list[str]:
        """What should never happen here: a fault of the torture, or an error of the product that no type covers."""
        return self._asker.troubles

    def prepare(self) -> None:
        """Before the masters start: what they look at outside of the database."""
        self._commits.begin()

    def begin(self) -> None:
        for thread in (*self._threads, self._looker):
            thread.start()

    def end(self) -> None:
        """No more requests; those under way are answered first. The looker looks on."""
        self._asker.over.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def unheard(self, conn: Connection) -> list[str]:
        """What was asked outside of the database, and has not come there yet."""
        return [*self._commits.unheard(conn), *self._wishes.unheard(conn)]

    def make_whole(self) -> None:
        """Enable whatever is disabled, and give all masters the configuration that they began with, as often as it takes."""
        for name in self._masters.names:
            self._masters.configure(name, 0)
        with closing(self._asker.database()) as database:
            for name in configuration.toggled():
                self._until_done(database, "enable", name, {}, self._by_function)
            for name in self._masters.names:
                self._until_done(database, "reconfigure", "", {"master": name, "variant": 0}, self._by_asking)
            self._stored.make_whole(database)

    def _until_done(self, database: Database, action: str, name: str, args: dict[str, Any], by: Way) -> None:
        self._asker.until(lambda: self._asker.once(database, action, name, args, by)[0] == "yes", WHOLE_S)

    def look(self) -> None:
        """Look once more, whoever else does."""
        with closing(self._asker.database()) as database:
            self._look(database, random.Random())

    def close(self) -> None:
        """All of it ends."""
        self.end()
        self._looking_over.set()
        if self._looker.is_alive():
            self._looker.join()

    # -- a thread -----------------------------------------------------------------------------------------------------

    def _work(self, over: threading.Event, every_s: float, step: Step, rng: random.Random) -> None:
        with closing(self._asker.database()) as database:
            while not over.wait(rng.uniform(0.5, 1.5) * every_s):
                try:
                    step(database, rng)
                except Exception:
                    self.troubles.append(f"{threading.current_thread().name}: {traceback.format_exc()}")

    # -- changes ------------------------------------------------------------------------------------------------------

    def _change(self, writer: str) -> Step:
        """One change by the product's own function."""

        def step(database: Database, rng: random.Random) -> None:
            (fields,) = self._asked(writer, rng, 1)
            while True:
                outcome, number, said = self._added(database, fields)
                if outcome == "yes" or self._asker.over.wait(0.3):
                    break
            self._truth.add(ChangeAnswered(now(), fields["request_id"], outcome, number, said))

        return step

    def _added(self, database: Database, fields: dict[str, Any]) -> tuple[Outcome, int | None, str]:
        try:
            numbers = database.write(changes.add, [validated(fields)])
        except DatabaseError as error:
            return "unknown", None, str(error)
        self._asker.announce(database, "changes")
        return "yes", numbers[fields["request_id"]], ""

    def _batch(self, writer: str, master: str) -> Step:
        """Some changes by ``locum change add --json -``, with a master's own configuration."""

        def step(database: Database, rng: random.Random) -> None:
            batch = self._asked(writer, rng, rng.randint(1, 4))
            given = "\n".join(json.dumps(fields) for fields in batch)
            while True:
                outcome, said = self._asker.command("--config", str(self._masters.file(master)), *_ADD, given=given)
                if outcome == "yes" or self._asker.over.wait(0.3):
                    break
            for fields in batch:
                self._truth.add(ChangeAnswered(now(), fields["request_id"], outcome, None, said))

        return step

    def _asked(self, writer: str, rng: random.Random, count: int) -> list[dict[str, Any]]:
        batch = []
        for _ in range(count):
            request = f"{writer}-{self._asker.number(writer)}"
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

    def _order(self, toggled: list[str], by: Way) -> Step:
        """One order; only this thread enables and disables those of ``toggled``."""
        disabled: set[str] = set()
        everybody = sorted(configuration.entries())
        others = [name for name in everybody if name not in configuration.toggled()]
        wishable = [name for name in configuration.wishable() if name in others]

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
                name = rng.choice(wishable)
                args = {"key": f"force-{self._asker.number('force')}"}
            # A move that is repeated moves nothing, one to nowhere that was refused is over.
            outcome, _, _ = self._asker.clearly(database, action, name, args, by)
            if outcome == "yes" and action in ("enable", "disable"):
                (disabled.add if action == "disable" else disabled.discard)(name)

        return step

    def _by_function(self, database: Database, action: str, name: str, args: dict[str, Any]) -> Answer:
        if action == "force":
            body = {**_BODY, "reason": args["key"], "owner": WHO, "properties": {}}
            return self._asker.message(database, "force", name, args["key"], body)
        try:
            done = database.write(_ORDERS[action], name, args)
            self._asker.announce(database, "schedulers")
        except (Refused, DatabaseAway) as error:
            return "no" if isinstance(error, Refused) else "unknown", str(error), {}
        except DatabaseError as error:
            return "unknown", str(error), {}
        return "yes", str(done), {}

    def _by_command(self, database: Database, action: str, name: str, args: dict[str, Any]) -> Answer:
        if action == "force":
            return self._asker.request("force", name, "--request-id", args["key"], "--reason", args["key"])
        words = {
            "enable": ["scheduler", "enable", name],
            "disable": ["scheduler", "disable", name, "--reason", "torture"],
            "move": ["scheduler", "move", name, "--to", args.get("to", "")],
            "rebalance": ["rebalance"],
        }[action]
        return (*self._asker.command(*words), {})

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
            self._asker.once(database, "reconfigure", "", args, way)

    def _by_signal(self, database: Database, action: str, name: str, args: dict[str, Any]) -> Answer:
        sent = self._masters.up(args["master"]) and self._masters.signal(args["master"], signal.SIGHUP)
        return ("unknown", "SIGHUP was sent", {}) if sent else ("no", "it does not run", {})

    def _by_asking(self, database: Database, action: str, name: str, args: dict[str, Any]) -> Answer:
        try:
            asked = database.write(orders.ask_masters, "reconfig", [args["master"]], WHO)
            self._asker.announce(database, "orders")
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


_ADD = ("change", "add", "--json", "-")
_ORDERS: dict[str, Callable[[Connection, str, dict[str, Any]], Any]] = {
    "enable": lambda conn, name, args: orders.enable(conn, name, WHO, "torture"),
    "disable": lambda conn, name, args: orders.disable(conn, name, "torture", WHO),
    "move": lambda conn, name, args: orders.move(conn, name, args["to"], WHO),
    "rebalance": lambda conn, name, args: orders.rebalance(conn, WHO),
}
_COLUMNS = ("term", "turns", "change_cursor", "finished_cursor", "incarnation")
_VALUES = ("count", "ticks", "runs")
"""States whose values are written down; of others, which may grow, only that they are there."""


def _seen(conn: Connection) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    names: dict[int, str] = {}
    columns = ", ".join(_COLUMNS)
    for row in conn.execute(text(f"SELECT id, name, enabled, {columns} FROM schedulers")):
        names[row.id] = row.name
        found[row.name] = {"enabled": bool(row.enabled), "state": {}} | {c: getattr(row, c) for c in _COLUMNS}
    for row in conn.execute(text("SELECT scheduler_id, key, value_json FROM scheduler_state")):
        if row.scheduler_id in names:
            value = json.loads(row.value_json) if row.key in _VALUES else True
            found[names[row.scheduler_id]]["state"][row.key] = value
    return found


def names_of(found: Iterable[str]) -> str:
    """Some of them, for a message."""
    some = sorted(found)
    return ", ".join(some[:8]) + (f" and {len(some) - 8} more" if len(some) > 8 else "")
