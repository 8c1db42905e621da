"""Throughput, start-up, idling, reconfiguration and many ticks at once; one subcommand each.

``python -m locum.tests.benchmarks.load {changes,startup,ticks} [--database sqlite|postgresql] [--n 10000]``
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import signal
import time
from pathlib import Path
from typing import Any

from locum.db import changes, upgrading
from locum.db.database import Database
from locum.db.urls import DatabaseUrl
from locum.master.changes import validated
from locum.master.commands import main as commands
from locum.master.process_main import real_clocks

from .bench import Masters, Statements, connected, database, one, say, say_raw, wait_for

HEAD = """
database: {{ url: "{url}" }}
tasks: {{ max_running: 0 }}
builders:
  - name: unit
    steps: [{{ shell: ["true"] }}]
schedulers:
"""


def main() -> None:
    """Run one of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["changes", "startup", "ticks"])
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="postgresql")
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--masters", type=int, default=1, help="of 'ticks'")
    parser.add_argument("--idle", type=float, default=60.0)
    options = parser.parse_args()
    with database(options.database) as url:
        prepared = open_database(url)
        upgrading.prepare(prepared, migrate=True)
        prepared.close()
        say_raw(options.database, url)
        {"changes": measure_changes, "startup": measure_startup, "ticks": measure_ticks}[options.what](url, options)


def open_database(url: str) -> Database:
    """For the benchmark itself."""
    return Database(DatabaseUrl.parse(url, Path("/")), clocks=real_clocks(), label="bench", pool_size=1)


def measure_changes(url: str, options: argparse.Namespace) -> None:
    """``n`` changes that wait in the database -> ``n`` buildsets by one SingleBranchScheduler."""
    lines = "  - { type: SingleBranchScheduler, name: quick, branch: main, builderNames: [unit] }\n"
    masters = Masters(HEAD.format(url=url) + lines)
    writer = open_database(url)
    try:
        with connected(url) as cursor:
            masters.start("m1")
            begun = "SELECT count(*) FROM schedulers WHERE change_cursor IS NOT NULL"
            wait_for(lambda: one(cursor, begun), 30, "the scheduler consumes")
            masters.stop_all()
            for start in range(0, options.n, 500):
                new = [validated({"who": "b", "branch": "main", "revision": f"r{start + i}"}) for i in range(500)]
                writer.write(changes.add, new)
            statements = Statements(url)
            process = masters.start("m1")
            count = "SELECT count(*) AS bench FROM buildsets"
            wait_for(lambda: one(cursor, count) > 0, 60, "the first buildset", 0.005)
            wait_for(lambda: one(cursor, count) >= options.n, 300, "all buildsets", 0.05)
            used = statements.since()
            span = "SELECT (max(submitted_at) - min(submitted_at)) / 1000000.0 FROM buildsets"
            seconds = float(one(cursor, span))
            cpu = cpu_s(process.pid)
            say(
                "changes -> buildsets",
                cpu_s=cpu,
                database=options.database,
                n=options.n,
                per_second=round(options.n / seconds),
                seconds=round(seconds, 2),
                statements_per_change=None if used is None else round(used / options.n, 3),
            )
    finally:
        writer.close()
        masters.close()


def periodics(n: int, period: str, first: str = "") -> str:
    """``n`` Periodic schedulers."""
    line = "  - {{ type: Periodic, name: p{i}, periodicBuildTimer: {period}, builderNames: [unit] }}\n"
    return first + "".join(line.format(i=i, period=period) for i in range(n))


def measure_startup(url: str, options: argparse.Namespace) -> None:
    """``n`` Periodic schedulers (1 h): process start to all active; idle statements; one of them reconfigured."""
    masters = Masters(HEAD.format(url=url) + periodics(options.n, "1h"))
    try:
        with connected(url) as cursor:
            start = time.perf_counter()
            process = masters.start("m1")
            turned = "SELECT count(*) FROM schedulers WHERE turns >= 1 AND incarnation IS NOT NULL"
            wait_for(lambda: one(cursor, turned) >= options.n, 120, "all active", 0.02)
            seconds = time.perf_counter() - start
            count = "SELECT count(*) AS bench FROM buildsets"
            wait_for(lambda: one(cursor, count) >= options.n, 120, "the first tick of all", 0.05)
            say(
                "start to all active",
                database=options.database,
                n=options.n,
                seconds=round(seconds, 2),
                with_first_ticks=round(time.perf_counter() - start, 2),
                rss_mb=rss_mb(process.pid),
                cpu_s=cpu_s(process.pid),
            )
            time.sleep(12)
            statements = Statements(url)
            time.sleep(options.idle)
            used = statements.since()
            per_second = None if used is None else used / options.idle
            say(
                "idle",
                database=options.database,
                n=options.n,
                seconds=options.idle,
                statements_per_second=None if per_second is None else round(per_second, 2),
                rss_mb=rss_mb(process.pid),
            )
            reconfigure(url, cursor, masters, process.pid, options, per_second)
    finally:
        masters.close()


def reconfigure(
    url: str, cursor: Any, masters: Masters, pid: int, options: argparse.Namespace, idle_per_second: float | None
) -> None:
    """Change one of them, and SIGHUP. A master that is left alone makes ``idle_per_second`` statements meanwhile, too."""
    cursor.execute("SELECT id, term, active_since FROM schedulers WHERE name <> 'p7'")
    before = sorted(cursor.fetchall())
    text = masters.config.read_text()
    masters.config.write_text(text.replace("name: p7, periodicBuildTimer: 1h", "name: p7, periodicBuildTimer: 2h"))
    term = one(cursor, "SELECT term AS bench FROM schedulers WHERE name = 'p7'")
    statements = Statements(url)
    start = time.perf_counter()
    os.kill(pid, signal.SIGHUP)
    wait_for(lambda: "reconfigured:" in masters.log("m1"), 60, "reconfigured", 0.005)
    seconds = time.perf_counter() - start
    wait_for(
        lambda: one(cursor, "SELECT term AS bench FROM schedulers WHERE name = 'p7'") > term, 60, "a new term", 0.01
    )
    both = time.perf_counter() - start
    time.sleep(0.2)
    used = statements.since()
    idle = None if idle_per_second is None else round(idle_per_second * (time.perf_counter() - start), 1)
    cursor.execute("SELECT id, term, active_since FROM schedulers WHERE name <> 'p7'")
    say(
        "reconfiguration, 1 changed",
        database=options.database,
        n=options.n,
        seconds=round(seconds, 2),
        until_active_anew=round(both, 2),
        statements_meanwhile=used,
        of_them_idle=idle,
        others_touched=sum(1 for a, b in zip(before, sorted(cursor.fetchall()), strict=True) if a != b),
    )


def measure_ticks(url: str, options: argparse.Namespace) -> None:
    """``n`` ticks due at one second, their schedulers spread over ``masters``: how late their buildsets are committed."""
    when = time.gmtime(time.time() + 75 + 60 * (options.masters > 1))
    lines = "".join(
        f"  - {{ type: Nightly, name: p{i}, hour: {when.tm_hour}, minute: {when.tm_min}, builderNames: [unit] }}\n"
        for i in range(options.n)
    )
    masters = Masters(HEAD.format(url=url) + lines)
    try:
        with connected(url) as cursor:
            processes = [masters.start(f"m{i + 1}") for i in range(options.masters)]
            wait_for(lambda: one(cursor, "SELECT count(*) FROM timers") >= options.n, 60, "all armed", 0.1)
            if options.masters > 1:
                spread(url, cursor, options)
            statements = Statements(url)
            cpu = sum(cpu_s(process.pid) for process in processes)
            count = "SELECT count(*) AS bench FROM buildsets"
            wait_for(lambda: one(cursor, count) >= options.n, 200, "all ticks", 0.2)
            used = statements.since()
            cursor.execute("SELECT (submitted_at - due_at) / 1000000.0 FROM buildsets ORDER BY 1")
            late = [float(row[0]) for row in cursor.fetchall()]
            say(
                "lateness of ticks due in one second",
                database=options.database,
                n=options.n,
                masters=options.masters,
                cpu_s=round(sum(cpu_s(process.pid) for process in processes) - cpu, 2),
                p50=round(late[len(late) // 2], 3),
                p99=round(late[int(len(late) * 0.99)], 3),
                max=round(late[-1], 3),
                statements_per_tick=None if used is None else round(used / options.n, 3),
            )
    finally:
        masters.close()


def spread(url: str, cursor: Any, options: argparse.Namespace) -> None:
    """An even share for each master."""
    with contextlib.redirect_stdout(io.StringIO()):
        assert commands.run(["--database", url, "rebalance"]) == 0
    share = options.n // options.masters
    fewest = (
        "SELECT min(held) FROM (SELECT (SELECT count(*) FROM schedulers s WHERE s.incarnation = m.incarnation) AS held"
        " FROM masters m WHERE m.state = 'up') AS of_each"
    )
    wait_for(lambda: one(cursor, fewest) >= share, 60, "an even share for each", 0.2)
    wait_for(lambda: one(cursor, "SELECT count(*) FROM schedulers WHERE incarnation IS NULL") == 0, 60, "all held", 0.2)
    time.sleep(5)  # their first turns; the ticks are due much later


def cpu_s(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return round((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), 2)


def rss_mb(pid: int) -> int:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) // 1024
    return 0


if __name__ == "__main__":
    main()
