"""How those who use the product ask it for something: what is asked is written down before, and the answer after."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from locum.db import messages, wakeups
from locum.db.database import Bounds, Database
from locum.db.errors import DatabaseError
from locum.db.naming import Refused
from locum.db.urls import DatabaseUrl
from locum.tests.support.cluster import CLOCKS

from .history import History, OrderAnswered, OrderAsked, Outcome, now
from .masters import Masters

WHO = "torture"
COMMAND_S = 20.0
ANSWER_S = 15.0

Answer = tuple[Outcome, str, dict[str, Any]]
"""What became of it; what was said; what the checker may need of that."""
Way = Callable[[Database, str, str, dict[str, Any]], Answer]
"""(database, action, scheduler, arguments) -> answer."""


class Asker:
    """The hands of all who use the product; safe from any thread. ``over`` is set when nothing more is to be asked."""

    def __init__(self, masters: Masters, url: DatabaseUrl, truth: History) -> None:
        self.masters = masters
        self.truth = truth
        self.over = threading.Event()
        self.troubles: list[str] = []
        """tracebacks of what should never happen here: a fault of the torture, or an error of the product that no type covers"""
        self._url = url
        self._last: dict[str, int] = {}
        self._lock = threading.Lock()

    def number(self, series: str) -> int:
        """1, 2, 3, ... of each series."""
        with self._lock:
            self._last[series] = self._last.get(series, 0) + 1
            return self._last[series]

    def database(self) -> Database:
        """A database of one's own; close it."""
        bounds = Bounds(connect_s=3.0, lock_s=10.0)
        return Database(self._url, clocks=CLOCKS, label="torture", pool_size=1, bounds=bounds)

    # -- asking -------------------------------------------------------------------------------------------------------

    def once(self, database: Database, action: str, name: str, args: dict[str, Any], by: Way) -> Answer:
        """Ask once."""
        id = f"order-{self.number('order')}"
        self.truth.add(OrderAsked(now(), id, action, name, args))
        outcome, said, detail = by(database, action, name, args)
        self.truth.add(OrderAnswered(now(), id, outcome, said, detail))
        return outcome, said, detail

    def clearly(self, database: Database, action: str, name: str, args: dict[str, Any], by: Way) -> Answer:
        """Ask again and again until there is a clear answer, or all is over."""
        while True:
            answer = self.once(database, action, name, args, by)
            if answer[0] != "unknown" or self.over.wait(0.3):
                return answer

    def message(self, database: Database, kind: str, name: str, key: str, body: Mapping[str, Any]) -> Answer:
        """A request to a scheduler, kept until it has answered."""
        try:
            sent = database.write(messages.send, name, key, kind, body, WHO)
            self.announce(database, "messages")
            for _ in range(int(ANSWER_S / 0.2)):
                answer = database.read(messages.answer_of, sent.id)
                if answer is not None:
                    return ("no" if "error" in answer else "yes"), json.dumps(answer), answer
                if self.over.wait(0.2):
                    break
        except Refused as error:
            return "no", str(error), {}
        except DatabaseError as error:
            return "unknown", str(error), {}
        return "unknown", "no answer yet", {}

    def command(self, *words: str, given: str | None = None) -> tuple[Outcome, str]:
        """``locum`` with these words, in a process of its own; what it said on both streams."""
        try:
            done = self.masters.cluster.locum(*words, given=given, code=None, bound_s=COMMAND_S)
        except subprocess.TimeoutExpired:
            return "unknown", f"no answer within {COMMAND_S} s"
        if "defect" in done.stderr or done.returncode not in (0, 1, 3):
            self.troubles.append(f"locum {' '.join(words)}: exit {done.returncode}: {done.stderr}")
        outcome: Outcome = "yes" if done.returncode == 0 else "no" if done.returncode == 1 else "unknown"
        return outcome, (done.stdout + done.stderr)[-20_000:]

    def request(self, *words: str, given: str | None = None) -> Answer:
        """A command that asks a scheduler for something and shows its answer in JSON; no answer in it is no clear one."""
        outcome, said = self.command(*words, "--json", given=given)
        if outcome != "yes":
            return outcome, said, {}
        answer = json.loads(said[: said.rindex("}") + 1]).get("answer")
        return ("yes", said, answer) if answer else ("unknown", said, {})

    def announce(self, database: Database, *topics: str) -> None:
        """Wake the masters up, if the database lets us."""
        try:
            database.single(wakeups.announce, list(topics))
        except DatabaseError:
            pass

    def until(self, true: Callable[[], bool], bound_s: float) -> bool:
        """Wait for it; False: it did not come in time."""
        end = time.monotonic() + bound_s
        while not true():
            if time.monotonic() > end:
                return False
            time.sleep(0.5)
        return True
