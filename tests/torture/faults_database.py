"""Faults of the database itself: stopped, killed, full, locked, read-only, replaced by its standby; a busy SQLite file."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
from collections.abc import Iterator, Sequence

import psycopg2

from .faults import POSTGRESQL, SQLITE, Args, Dealer, Detail, Kind, Site, on_the_database
from .history import Planned
from .postgres import Postgres

FOLLOW_S = 1.5
"""About how long it takes to make a new standby."""
_TABLES = ("masters", "schedulers", "timers", "tasks", "buildsets", "changes", "scheduler_state")
_SESSIONS = (
    "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND starts_with(application_name, 'locum')"
    " ORDER BY backend_start, pid"
)


def _postgres(site: Site) -> Postgres:
    assert site.ground.postgres is not None
    return site.ground.postgres


def _down(site: Site, planned: Planned, how: int) -> None:
    primary = _postgres(site).primary
    try:
        primary.stop(how)
        site.pause(planned.args["seconds"])
    finally:
        primary.start()


def _restart(site: Site, planned: Planned, detail: Detail) -> None:
    """Stopped in order, and started again."""
    _down(site, planned, signal.SIGINT)


def _kill(site: Site, planned: Planned, detail: Detail) -> None:
    """kill -9 of the server's first process; it recovers from its log."""
    _down(site, planned, signal.SIGKILL)


def _backend_kill(site: Site, planned: Planned, detail: Detail) -> None:
    """kill -9 of some sessions' processes: the server throws out everybody and recovers."""
    rng, primary = random.Random(planned.args["seed"]), _postgres(site).primary
    try:
        for _ in range(int(planned.args["times"])):
            with contextlib.suppress(psycopg2.Error, ProcessLookupError):
                pids = [row[0] for row in primary.do(_SESSIONS)]
                if pids:
                    os.kill(rng.choice(pids), signal.SIGKILL)
            site.pause(planned.args["every_s"])
    finally:
        primary.start()


def _terminate(site: Site, planned: Planned, detail: Detail) -> None:
    """pg_terminate_backend of one session after another, whoever's it is."""
    rng, primary = random.Random(planned.args["seed"]), _postgres(site).primary
    detail["ended"] = 0
    for _ in range(int(planned.args["times"])):
        pids = [row[0] for row in primary.do(_SESSIONS)]
        if pids:
            detail["ended"] += bool(primary.do("SELECT pg_terminate_backend(%s)", rng.choice(pids))[0][0])
        site.pause(planned.args["every_s"])


def _read_only(site: Site, planned: Planned, detail: Detail) -> None:
    """All transactions are read-only, as after a demotion; sessions that are there notice, too."""
    primary = _postgres(site).primary
    try:
        primary.set("default_transaction_read_only", "on")
        site.pause(planned.args["seconds"])
    finally:
        primary.set("default_transaction_read_only", "off")


def _full(site: Site, planned: Planned, detail: Detail) -> None:
    """No room on its disk: statements fail, or the whole server ends, and cannot recover until there is room."""
    primary = _postgres(site).primary
    try:
        detail["taken"] = primary.disk.fill()
        site.pause(planned.args["seconds"])
    finally:
        detail["still_ran"] = primary.running
        primary.disk.empty()
        primary.start()


def _draw_table(dealer: Dealer, masters: Sequence[str], lease_s: float) -> tuple[str, Args]:
    mode = dealer.rng.choice(("ACCESS EXCLUSIVE", "SHARE ROW EXCLUSIVE", "SHARE"))
    seconds = dealer.between(0.3 * lease_s, 3 * lease_s)
    return "database", {"table": dealer.deal("tables", _TABLES), "mode": mode, "seconds": seconds}


def _lock_table(site: Site, planned: Planned, detail: Detail) -> None:
    """Somebody has a table for himself, for longer than statements wait for locks."""
    statement = f"LOCK TABLE {planned.args['table']} IN {planned.args['mode']} MODE"
    _hold(site, statement, planned.args["seconds"])


def _hold_rows(site: Site, planned: Planned, detail: Detail) -> None:
    """A transaction holds some schedulers' rows, and does not go on."""
    rest = planned.args["seed"] % 4
    detail["rows"] = _hold(site, f"SELECT id FROM schedulers WHERE id % 4 = {rest} FOR UPDATE", planned.args["seconds"])


def _hold(site: Site, statement: str, seconds: float) -> int:
    with _postgres(site).primary.session() as raw:
        raw.autocommit = False
        with raw.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '20s'")
            cursor.execute(statement)
            count = cursor.rowcount
            site.pause(seconds)
        raw.rollback()
    return count


def _draw_failover(dealer: Dealer, masters: Sequence[str], lease_s: float) -> tuple[str, Args]:
    return "database", {
        "how": dealer.deal("failover", ("killed", "stopped", "lives on")),
        "alone_s": dealer.between(0, 1.5 * lease_s),
        "seconds": dealer.between(2 * lease_s, 4 * lease_s),
    }


def _failover(site: Site, planned: Planned, detail: Detail) -> None:
    """The primary ends, or is believed to have; its synchronous standby takes its place, and gets a standby of its own."""
    postgres, args = _postgres(site), planned.args
    old = postgres.primary
    try:
        postgres.until_followed()
        if args["how"] != "lives on":
            old.stop(signal.SIGKILL if args["how"] == "killed" else signal.SIGINT)
            site.pause(args["alone_s"])
        postgres.promote()
        if args["how"] == "lives on":
            site.pause(args["alone_s"])
            old.stop(signal.SIGQUIT)
        site.pause(args["seconds"] - args["alone_s"] - FOLLOW_S)
    finally:
        if postgres.primary is old:
            old.start()
        postgres.follow()
        detail["primary"] = postgres.primary.port


def _standby_away(site: Site, planned: Planned, detail: Detail) -> None:
    """Commits wait for a standby that is not there: they are done, but nobody is told."""
    postgres = _postgres(site)
    assert postgres.standby is not None
    try:
        postgres.standby.stop(signal.SIGQUIT)
        site.pause(planned.args["seconds"])
    finally:
        postgres.standby.start()
        postgres.until_followed()


@contextlib.contextmanager
def _sqlite(site: Site) -> Iterator[sqlite3.Connection]:
    raw = sqlite3.connect(site.ground.sqlite_path, isolation_level=None, timeout=30)
    try:
        yield raw
    finally:
        raw.close()


def _busy(site: Site, planned: Planned, detail: Detail) -> None:
    """Another program has the file's write lock."""
    with _sqlite(site) as raw:
        raw.execute("BEGIN IMMEDIATE")
        site.pause(planned.args["seconds"])
        raw.execute("ROLLBACK")


def _reader(site: Site, planned: Planned, detail: Detail) -> None:
    """Another program reads for long: the WAL grows, and no checkpoint comes to its end."""
    with _sqlite(site) as raw:
        raw.execute("BEGIN")
        raw.execute("SELECT count(*) FROM buildsets").fetchone()
        site.pause(planned.args["seconds"])
        detail["wal_bytes"] = site.ground.sqlite_path.with_name(site.ground.sqlite_path.name + "-wal").stat().st_size
        raw.execute("ROLLBACK")


def _checkpoint(site: Site, planned: Planned, detail: Detail) -> None:
    """Another program makes checkpoints, one after another, of the kinds that keep others out."""
    rng = random.Random(planned.args["seed"])
    detail["made"] = 0
    with _sqlite(site) as raw:
        raw.execute("PRAGMA busy_timeout = 2000")
        for _ in range(int(planned.args["times"])):
            how = rng.choice(("FULL", "RESTART", "TRUNCATE"))
            with contextlib.suppress(sqlite3.OperationalError):  # locked: somebody else makes one just now
                busy = raw.execute(f"PRAGMA wal_checkpoint({how})").fetchone()[0]
                detail["made"] += not busy
            site.pause(planned.args["every_s"])


def _sqlite_full(site: Site, planned: Planned, detail: Detail) -> None:
    """No room on the file's disk."""
    disk = site.ground.disk
    assert disk is not None
    try:
        detail["taken"] = disk.fill()
        site.pause(planned.args["seconds"])
    finally:
        disk.empty()


KINDS = (
    Kind("pg-restart", on_the_database(leases=(0, 2)), _restart, "database", POSTGRESQL),
    Kind("pg-kill", on_the_database(leases=(0, 2)), _kill, "database", POSTGRESQL),
    Kind("pg-backend-kill", on_the_database(times=(1, 4), every_s=(0.5, 2)), _backend_kill, "database", POSTGRESQL),
    Kind("pg-terminate", on_the_database(times=(1, 25), every_s=(0.05, 0.6)), _terminate, "database", POSTGRESQL),
    Kind("pg-read-only", on_the_database(leases=(0.3, 3)), _read_only, "database", POSTGRESQL),
    Kind("pg-full", on_the_database(leases=(0.5, 3)), _full, "database", POSTGRESQL, needs="mount"),
    Kind("pg-lock-table", _draw_table, _lock_table, "database", POSTGRESQL),
    Kind("pg-hold-rows", on_the_database(leases=(0.3, 4)), _hold_rows, "database", POSTGRESQL),
    Kind("pg-failover", _draw_failover, _failover, "database", POSTGRESQL, needs="standby"),
    Kind("pg-standby-away", on_the_database(leases=(0.3, 3)), _standby_away, "database", POSTGRESQL, needs="standby"),
    Kind("sqlite-busy", on_the_database(leases=(0.1, 2.5)), _busy, "database", SQLITE, weight=2),
    Kind("sqlite-reader", on_the_database(leases=(0.5, 5)), _reader, "database", SQLITE),
    Kind("sqlite-checkpoint", on_the_database(times=(3, 60), every_s=(0.01, 0.3)), _checkpoint, "database", SQLITE),
    Kind("sqlite-full", on_the_database(leases=(0.3, 2.5)), _sqlite_full, "database", SQLITE, needs="mount"),
)
