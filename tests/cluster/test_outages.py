"""The database goes away, comes back, is not there yet, or is not ours (promises P10 and P12); masters frozen in a write."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg2
import pytest
from locum.tests.conftest import _administer
from locum.tests.support import hostile, truth
from locum.tests.support.cluster import Cluster, branch, periodic, single

Make = Callable[..., Cluster]
HOSTILE = str(Path(hostile.__file__))
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
"""What does not depend on the database is tried on one of them: each master takes a second to start."""
USUAL: dict[str, Any] = {
    "master": {"roles": ["schedulers"]},
    "plugins": [HOSTILE],
    "builders": single(),
    "schedulers": [
        branch("quick"),
        periodic("tick"),
        {"type": "hostile.Counting", "name": "count", "builderNames": ["unit"]},
    ],
}
NAMES = ("quick", "tick", "count")


def usual(c: Cluster) -> None:
    """Two masters at work, one change built."""
    c.start("m1", "m2")
    c.wait_held(*NAMES)
    c.add_changes(["before"])
    c.until(lambda: c.built("quick") == c.built("count") == ["before"], "a change is built")


def all_is_well(c: Cluster, revisions: list[str]) -> None:
    """Every change and every tick once, and masters that are still the same processes."""
    for name in ("quick", "count"):
        c.until(lambda n=name: len(c.built(n)) >= len(revisions), f"{name} builds all of them")
        truth.every_change_once(c, name, revisions)
    now = int(time.time() * 1e6)
    c.until(lambda: c.buildsets("tick")[-1][3] > now, "it ticks again")
    truth.every_tick_once(c, "tick")
    truth.in_order(c, "count")
    truth.terms_only_rise(c)
    assert all(process.poll() is None for process in c.processes.values()), c.told()


@pytest.fixture
def own(private_server: Any, tmp_path: Path) -> Any:
    """(server, cluster on a new database of it)."""
    with Cluster(tmp_path, private_server.database(), **USUAL) as c:
        yield private_server, c


def _kept_acting(c: Cluster, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if "is deactivated" not in c.log(name)]


def test_masters_survive_a_postgresql_that_crashes_and_comes_back(own: Any) -> None:
    """P10: they stop acting before their lease ends, keep running, and resume by themselves."""
    server, c = own
    usual(c)
    server.stop()
    try:
        c.until(lambda: not _kept_acting(c, ("m1", "m2")), "both stop acting")
        assert all(process.poll() is None for process in c.processes.values())
    finally:
        server.start()
    c.until(lambda: set(c.up()) == {"m1", "m2"}, "both are back")
    c.wait_held(*NAMES)
    c.add_changes(["after"])
    all_is_well(c, ["before", "after"])


def test_masters_survive_a_postgresql_that_restarts_within_their_lease(own: Any) -> None:
    """P10: too short an absence for a lease to end; what was being written is settled all the same."""
    server, c = own
    c.settings["cluster"] = {"lease": "20s", "heartbeat": "500ms"}
    usual(c)
    with truth.Writers(c) as writers:
        c.until(lambda: len(writers.acknowledged) > 10, "changes come")
        server.stop()
        server.start()
        before = len(writers.acknowledged)
        c.until(lambda: len(writers.acknowledged) > before + 10, "changes come again")
    all_is_well(c, ["before", *writers.acknowledged])


def test_masters_survive_the_end_of_every_session_again_and_again(own: Any) -> None:
    """A commit whose outcome is unknown ends its term, and nothing is lost or doubled."""
    server, c = own
    c.settings["cluster"] = {"lease": "20s", "heartbeat": "500ms"}
    usual(c)
    with truth.Writers(c) as writers:
        for _ in range(8):
            before = len(writers.acknowledged)
            c.until(lambda n=before: len(writers.acknowledged) > n, "changes come")
            with contextlib.suppress(psycopg2.Error):
                server.cut_sessions()
    all_is_well(c, ["before", *writers.acknowledged])


def test_masters_survive_a_postgresql_that_answers_nothing_for_a_while(own: Any) -> None:
    """P10: connections stay open, but no answer comes: the client's own deadlines must end the waiting."""
    server, c = own
    usual(c)
    frozen = server.freeze()
    try:
        c.until(lambda: not _kept_acting(c, ("m1", "m2")), "both stop acting")
    finally:
        server.thaw(frozen)
    c.until(lambda: set(c.up()) == {"m1", "m2"}, "both are back")
    c.wait_held(*NAMES)
    c.add_changes(["after"])
    all_is_well(c, ["before", "after"])


def test_masters_that_start_before_their_postgresql_wait_for_it(private_server: Any, tmp_path: Path) -> None:
    """P10: neither the server nor, then, the database is there; they say so, wait, and come up by themselves."""
    name = f"locum_late_{os.getpid()}"
    with Cluster(tmp_path, private_server.named(name), **USUAL) as c:
        private_server.stop()
        try:
            c.start("m1", "m2", wait=False)
            c.until(lambda: "the database is away" in c.log("m1") + c.log("m2"), "they say so")
        finally:
            private_server.start()
        c.until(lambda: "does not exist" in c.log("m1"), "the server is there, the database is not")
        _administer(private_server.url, f"CREATE DATABASE {name}")
        c.until(lambda: set(c.up()) == {"m1", "m2"}, "both come up")
        c.wait_held(*NAMES)
        assert all(process.poll() is None for process in c.processes.values())


def test_two_masters_that_start_at_once_on_an_empty_database_both_come_up(empty_url: str, tmp_path: Path) -> None:
    """The schema is made once; the other waits for it."""
    with Cluster(tmp_path, empty_url, **USUAL) as c:
        c.start("m1", "m2", "m3", wait=False)
        time.sleep(0.5)
        c.until(lambda: all("is up" in c.log(n) for n in ("m1", "m2", "m3")), "all are up")
        c.wait_held(*NAMES)
        assert c.stop("m1", "m2", "m3") == [0, 0, 0]
        assert "well" in c.quick("db", "check").stdout


@contextlib.contextmanager
def held(path: str) -> Any:
    """The SQLite file's write lock."""
    raw = sqlite3.connect(path, isolation_level=None, timeout=30)
    raw.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        raw.execute("ROLLBACK")
        raw.close()


def sqlite_path(c: Cluster) -> str:
    return c.url.removeprefix("sqlite:///")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_masters_survive_a_sqlite_file_that_another_process_holds_locked_beyond_their_lease(cluster: Make) -> None:
    """P10: nobody can renew; they stop acting, and resume when the lock is gone."""
    c = cluster(**USUAL)
    usual(c)
    with held(sqlite_path(c)):
        c.until(lambda: not _kept_acting(c, ("m1", "m2")), "both stop acting")
    c.until(lambda: set(c.up()) == {"m1", "m2"}, "both are back")
    c.wait_held(*NAMES)
    c.add_changes(["after"])
    all_is_well(c, ["before", "after"])


def test_the_terms_of_a_master_frozen_in_the_middle_of_a_write_go_to_another(cluster: Make) -> None:
    """P9: what it has locked is freed: by ending its sessions, or (SQLite) by killing it."""
    c = cluster(
        **{
            **USUAL,
            "schedulers": [
                branch("quick"),
                {"type": "hostile.Gripping", "name": "hold", "builderNames": ["unit"], "path": ""},
            ],
        }
    )
    if c.sqlite:
        c.settings["schedulers"][1]["path"] = sqlite_path(c)
    c.start("m1")
    c.wait_held("quick", "hold")
    c.start("m2")
    if c.sqlite:
        c.add_changes(["grip"], comments="hold 3600")
        c.until(lambda: (c.folder / "hold.m1.trace").exists(), "m1 holds the file's write lock")
        c.freeze("m1")
    else:
        raw = psycopg2.connect(c.url)
        raw.cursor().execute("LOCK TABLE tasks IN SHARE ROW EXCLUSIVE MODE")
        c.add_changes(["grip"])
        c.until(
            lambda: c.rows(
                "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'relation' AND query LIKE 'INSERT INTO tasks%'"
            ),
            "m1 is in the middle of its commit",
        )
        c.freeze("m1")
        raw.rollback()  # now m1's transaction holds its scheduler's row, and does not go on
        raw.close()
    c.wait_held("quick", "hold", by=["m2"])
    c.add_changes(["after"])
    c.until(lambda: sorted(c.built("quick")) == ["after", "grip"], "m2 goes on")
    c.thaw("m1")
    if c.sqlite:
        assert c.wait("m1") == -signal.SIGKILL
    else:
        c.until(lambda: "m1" in c.up(), "m1 joins anew")
    truth.every_change_once(c, "quick", ["grip", "after"])
    truth.terms_only_rise(c)


def test_a_database_that_becomes_read_only_stops_all_and_hurts_nobody(cluster: Make) -> None:
    """P10: PostgreSQL that was demoted, a file whose rights are gone: the same as away."""
    c = cluster(**USUAL)
    if c.sqlite and os.geteuid() == 0:
        pytest.skip("root may write to any file")
    usual(c)
    if c.sqlite:
        path = Path(sqlite_path(c))
        path.chmod(0o444)
    else:
        name = urlsplit(c.url).path.strip("/")
        _administer(c.url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        _end_masters_sessions(c)
    c.until(lambda: not _kept_acting(c, ("m1", "m2")), "both stop acting")
    if c.sqlite:
        path.chmod(0o644)
    else:
        _without_read_only(c, f"ALTER DATABASE {name} SET default_transaction_read_only = off")
        _end_masters_sessions(c)
    c.until(lambda: set(c.up()) == {"m1", "m2"}, "both are back")
    c.wait_held(*NAMES)
    _reopened(c).add_changes(["after"])
    all_is_well(c, ["before", "after"])


def _end_masters_sessions(c: Cluster) -> None:
    _administer(
        c.url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND starts_with(application_name, 'locum:')",
    )


def _without_read_only(c: Cluster, statement: str) -> None:
    raw = psycopg2.connect(c.url, options="-c default_transaction_read_only=off")
    raw.autocommit = True
    raw.cursor().execute(statement)
    raw.close()


def _reopened(c: Cluster) -> Cluster:
    c.database.close()
    c._database = None
    return c


def refused(c: Cluster, name: str = "m1", **start: Any) -> str:
    """What a master says that cannot start, once it has ended with 1."""
    c.start(name, wait=False, **start)
    assert c.wait(name) == 1, c.log(name)
    assert "Traceback" not in c.log(name)
    return c.log(name)


def test_a_database_of_another_program_is_refused_and_untouched(empty_url: str, tmp_path: Path) -> None:
    """P12: tables with our names, a file that is no database, a file of another program."""
    with Cluster(tmp_path, empty_url, **USUAL) as c:
        if not c.sqlite:
            _administer(empty_url, "CREATE TABLE tasks (theirs text)")
            said = refused(c)
            assert "another program" in said and "tasks" in said
            assert len(c.rows("SELECT 1 FROM information_schema.tables WHERE table_schema = 'public'")) == 1
            return
        path = Path(sqlite_path(c))
        path.write_text("Dear diary,\n" * 1000)
        said = refused(c)
        assert "not a database" in said and path.name in said
        assert path.read_text() == "Dear diary,\n" * 1000
        path.unlink()
        raw = sqlite3.connect(path)
        raw.execute("CREATE TABLE recipes (name text)")
        raw.commit()
        assert "another program" in refused(c)
        assert raw.execute("SELECT name FROM sqlite_master").fetchall() == [("recipes",)]
        raw.close()


def test_a_schema_that_must_be_upgraded_by_hand_is_left_alone(empty_url: str, tmp_path: Path) -> None:
    """P12: ``database.upgrade: manual`` refuses and names the command."""
    with Cluster(tmp_path, empty_url, **{**USUAL, "database": {"upgrade": "manual"}}) as c:
        said = refused(c)
        assert "locum db upgrade" in said
        assert said.count("://") == 1, "the database is named once"
        c.quick("db", "upgrade")
        c.start("m1")
        c.wait_held(*NAMES)


@on_postgresql
def test_a_newer_incompatible_schema_ends_masters_with_the_reason(cluster: Make) -> None:
    """A running master that sees an incompatible version stands down; a starting one refuses."""
    c = cluster(**USUAL)
    usual(c)
    c.execute("UPDATE cluster SET schema_version = 900, oldest_compatible = 900")
    for name in ("m1", "m2"):
        assert c.wait(name) == 1
        assert "900" in c.log(name)
    count = len(c.buildsets("tick"))
    assert "900" in refused(c, "m3")
    assert len(c.buildsets("tick")) == count, "nobody acts any more"


def test_a_name_that_is_alive_is_refused_and_one_that_is_dead_is_taken_over(cluster: Make) -> None:
    """Same name twice: refused clearly if the other renews; goes on at once if it is proved dead."""
    c = cluster(**USUAL)
    usual(c)
    other = Cluster(c.folder / "second", c.url, **USUAL)
    other.folder.mkdir()
    with other:
        other.start("m1", wait=False)
        assert other.wait("m1") == 1
        assert "a master named 'm1' is running" in other.log("m1") and "--name" in other.log("m1")
    old = c.incarnation("m1")
    c.kill("m1")
    c.start("m1", wait=False)
    c.until(lambda: c.incarnation("m1") not in (None, old), "m1 is back")
    c.add_changes(["after"])
    all_is_well(c, ["before", "after"])


def test_a_name_that_is_frozen_is_taken_over_after_its_lease_and_its_old_self_gives_way(cluster: Make) -> None:
    """Same name twice: when the other is lost, the new one goes on; the woken one ends, saying why."""
    c = cluster(**USUAL)
    c.start("m1")
    c.wait_held(*NAMES)
    old = c.incarnation("m1")
    c.freeze("m1")
    with Cluster(c.folder / "second", c.url, **USUAL) as other:
        other.folder.mkdir()
        other.start("m1", wait=False)
        other.until(lambda: c.incarnation("m1") not in (None, old), "the new one is up")
        c.wait_held(*NAMES)
        if c.processes["m1"].poll() is None:
            c.thaw("m1")
        code = c.wait("m1")
        if not c.sqlite or code != -signal.SIGKILL:  # it is killed, if it froze in the middle of a write
            assert code == 1
            assert "another master named 'm1'" in c.log("m1")
        assert psutil.pid_exists(other.pid("m1"))
        truth.terms_only_rise(c)


@on_sqlite
def test_a_master_that_starts_while_the_only_other_is_frozen_in_a_write_kills_it(cluster: Make) -> None:
    """There is no survivor that could: the one that starts must free the file, or nobody ever will."""
    c = cluster(**USUAL)
    c.settings["schedulers"] = [
        {"type": "hostile.Gripping", "name": "hold", "builderNames": ["unit"], "path": sqlite_path(c)}
    ]
    c.start("m1")
    c.wait_held("hold")
    c.add_changes(["grip"], comments="hold 3600")
    c.until(lambda: (c.folder / "hold.m1.trace").exists(), "m1 holds the file's write lock")
    c.freeze("m1")
    c.start("m2")
    assert c.wait("m1") == -signal.SIGKILL
    c.wait_held("hold", by=["m2"])


def test_after_a_backup_is_restored_recovering_makes_the_lost_database_worthless(cluster: Make, tmp_path: Path) -> None:
    """``locum db recover``: refused while a master runs; then terms and ids go on far above, and all works."""
    c = cluster(**USUAL)
    usual(c)
    refused_ = c.quick("db", "recover", "--yes", code=1)
    assert "m1" in refused_.stderr and "stop" in refused_.stderr
    assert c.stop("m1", "m2") == [0, 0]
    term, highest = c.term("quick"), c.value("SELECT max(id) FROM buildsets")
    cluster_id = c.value("SELECT cluster_id FROM cluster")
    done = c.json("db", "recover", "--yes", "--force")  # their last beat is younger than a lease
    assert done["old_cluster_id"] == cluster_id != done["cluster_id"]
    c.processes.clear()
    c.start("m1")
    c.wait_held(*NAMES)
    c.add_changes(["after"])
    all_is_well(c, ["before", "after"])
    assert c.term("quick") > term + 1_000_000
    assert c.value("SELECT max(id) FROM buildsets") > highest + 1_000_000
    assert "well" in c.quick("db", "check").stdout
