"""How long until a scheduler is active elsewhere: ``python -m locum.tests.benchmarks.takeover [--database ...] [--runs 20]``.

Three masters, a stream of changes and a 1 s Periodic (catch_up: all). "Active elsewhere" is the first turn committed
under the new term, timed from the signal, seen by polling the row every 2 ms. At the end: changes and ticks lost or doubled.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import threading
import time
from pathlib import Path

from locum.db import changes, upgrading, wakeups
from locum.db.database import Database
from locum.db.errors import DatabaseAway, OutcomeUnknown
from locum.db.urls import DatabaseUrl
from locum.master.changes import validated
from locum.master.process_main import real_clocks

from .bench import Masters, connected, database, one, say, say_raw, summary, wait_for

YAML = """
database: {{ url: "{url}" }}
cluster: {{ lease: {lease}s, heartbeat: {heartbeat}s }}
tasks: {{ max_running: 0 }}
plugins: [./blocking.py]
builders:
  - name: unit
    steps: [{{ shell: ["true"] }}]
schedulers:
  - {{ type: SingleBranchScheduler, name: quick, branch: main, builderNames: [unit] }}
  - {{ type: Periodic, name: per, periodicBuildTimer: 1s, catch_up: all, builderNames: [unit] }}
  - {{ type: blocking.Blocking, name: blocking, builderNames: [unit] }}
"""
BLOCKING = """
import os, time
from locum.schedulers import BaseScheduler

class Blocking(BaseScheduler):
    async def activate(self):
        await super().activate()
        await self.startConsumingChanges()
    def gotChange(self, change, important):
        if change.branch == "block" and change.comments == str(os.getpid()):
            time.sleep(float(change.revision))
"""


class Stream(threading.Thread):
    """Adds a change every 20 ms, straight to the database; ``sent`` is the ground truth."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.database = Database(DatabaseUrl.parse(url, Path("/")), clocks=real_clocks(), label="bench", pool_size=1)
        self.sent: list[int] = []
        self.stopped = threading.Event()

    def add(self, **fields: str) -> int:
        """One change; its number."""
        new = validated({"who": "bench", **fields})
        while True:  # a frozen master may hold SQLite's write lock; the request id makes a repetition the same change
            try:
                number = self.database.write(changes.add, [new])[new.request_id]
                break
            except (DatabaseAway, OutcomeUnknown):
                continue
        with contextlib.suppress(DatabaseAway, OutcomeUnknown):
            self.database.single(wakeups.announce, ["changes"])
        return number

    def run(self) -> None:
        while not self.stopped.wait(0.02):
            self.sent.append(self.add(branch="main", revision=f"r{len(self.sent)}"))


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="postgresql")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--faults", default="kill,term,stop,block")
    parser.add_argument("--lease", type=float, default=10.0)
    parser.add_argument("--heartbeat", type=float, default=2.0)
    options = parser.parse_args()
    with database(options.database) as url:
        measure(url, options)


def measure(url: str, options: argparse.Namespace) -> None:
    """All faults, one after another, on one cluster."""
    masters = Masters(YAML.format(url=url, lease=options.lease, heartbeat=options.heartbeat))
    (masters.folder / "blocking.py").write_text(BLOCKING)
    names = ["m1", "m2", "m3"]
    prepared = Database(DatabaseUrl.parse(url, Path("/")), clocks=real_clocks(), label="bench", pool_size=1)
    upgrading.prepare(prepared, migrate=True)
    prepared.close()
    say_raw(options.database, url)
    try:
        for name in names:
            masters.start(name)
        with connected(url) as cursor:
            wait_up(cursor, 3)
            stream = Stream(url)
            time.sleep(1.0)
            stream.start()
            bound = options.lease + options.heartbeat + 1
            for fault in options.faults.split(","):
                times = [one_run(masters, cursor, stream, fault, bound) for _ in range(options.runs)]
                say(
                    f"{fault} -> active elsewhere, seconds",
                    database=options.database,
                    figures=summary(times),
                    times=[round(t, 3) for t in times],
                )
            stream.stopped.set()
            stream.join()
            tell_losses(cursor, stream)
    except Exception:
        print("\n".join(f"-- {n}\n" + masters.log(n)[-3000:] for n in names))
        raise
    finally:
        masters.close()


def wait_up(cursor: object, n: int) -> None:
    """Until ``n`` masters are up and every scheduler, the calendar too, is held and has had a turn."""
    wait_for(lambda: one(cursor, "SELECT count(*) FROM masters WHERE state = 'up'") >= n, 60, "masters up", 0.05)
    sql = "SELECT count(*) FROM schedulers WHERE incarnation IS NOT NULL"
    wait_for(lambda: one(cursor, sql) == 4, 60, "schedulers held", 0.05)
    time.sleep(0.7)


def one_run(masters: Masters, cursor: object, stream: Stream, fault: str, bound: float) -> float:
    """Hit the master that holds the schedulers; seconds until all of its schedulers have had a turn elsewhere."""
    which = "blocking" if fault == "block" else "per"
    cursor.execute(  # type: ignore[attr-defined]
        "SELECT m.name, m.incarnation, m.pid FROM schedulers s JOIN masters m ON m.incarnation = s.incarnation"
        f" WHERE s.name = '{which}'"
    )
    name, incarnation, pid = cursor.fetchone()  # type: ignore[attr-defined]
    cursor.execute(f"SELECT id, term FROM schedulers WHERE incarnation = '{incarnation}'")  # type: ignore[attr-defined]
    held = dict(cursor.fetchall())  # type: ignore[attr-defined]
    start = time.perf_counter()
    if fault == "block":
        stream.add(branch="block", revision=str(bound + 3), comments=str(pid))
    else:
        masters.send(name, {"kill": signal.SIGKILL, "term": signal.SIGTERM, "stop": signal.SIGSTOP}[fault])
    turns: dict[int, int] = {}

    def active() -> bool:
        cursor.execute("SELECT id, term, turns, incarnation FROM schedulers")  # type: ignore[attr-defined]
        for number, term, count, holder in cursor.fetchall():  # type: ignore[attr-defined]
            if number not in held:
                continue
            if term == held[number] or holder is None or holder == incarnation:
                turns[number] = count
            elif count > turns.get(number, count):
                del held[number]
        return not held

    wait_for(active, bound + 30, f"{fault}: active elsewhere", 0.002)
    took = time.perf_counter() - start
    if fault in ("kill", "term"):
        masters.wait_gone(name)
        masters.start(name)
    elif fault == "stop":
        if masters.running[name].poll() is None:
            masters.send(name, signal.SIGCONT)
        else:  # it froze in the middle of a SQLite write, so a survivor had to kill it
            masters.wait_gone(name)
            masters.start(name)
    wait_up(cursor, 3)
    if fault == "block":
        cursor.execute("UPDATE schedulers SET blocked = 0")  # type: ignore[attr-defined]
        wait_for(lambda: incarnation not in alive(cursor), 60, "the blocked one joined anew", 0.1)
        wait_up(cursor, 3)
    return took


def alive(cursor: object) -> set[str]:
    """The incarnations that are up."""
    cursor.execute("SELECT incarnation FROM masters WHERE state = 'up'")  # type: ignore[attr-defined]
    return {row[0] for row in cursor.fetchall()}  # type: ignore[attr-defined]


def tell_losses(cursor: object, stream: Stream) -> None:
    """Compare what was sent with what was made of it, and the ticks with their grid."""
    time.sleep(3)
    cursor.execute(  # type: ignore[attr-defined]
        "SELECT c.change_number, count(*) FROM buildset_changes c JOIN buildsets b ON b.id = c.buildset_id"
        " WHERE b.scheduler = 'quick' GROUP BY 1"
    )
    built = dict(cursor.fetchall())  # type: ignore[attr-defined]
    cursor.execute("SELECT due_at FROM buildsets WHERE scheduler = 'per' ORDER BY due_at")  # type: ignore[attr-defined]
    due = [row[0] for row in cursor.fetchall()]  # type: ignore[attr-defined]
    expected = (due[-1] - due[0]) // 1_000_000 + 1
    say(
        "lost and doubled",
        changes=len(stream.sent),
        changes_lost=len(set(stream.sent) - set(built)),
        lost=sorted(set(stream.sent) - set(built))[:30],
        changes_doubled=sum(1 for n in built.values() if n > 1),
        ticks=expected,
        ticks_lost=expected - len(set(due)),
        ticks_doubled=len(due) - len(set(due)),
        skips=json.loads(one(cursor, "SELECT count(*) FROM skips").__str__()),
    )


if __name__ == "__main__":
    main()
