"""``locum demo`` itself: it tells the truth, it works where nothing is set up, and it leaves nothing behind."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest
from locum.db import upgrading
from locum.db.database import Database
from locum.master.demo.tally import Done, Verdict, compared, due_ticks, late_commits

LOCUM = [sys.executable, "-m", "locum"]
LONGEST_S = 120.0


def environment(tmp: Path, **more: str) -> dict[str, str]:
    """Nothing but PATH, and where temporary files go."""
    return {"PATH": os.environ["PATH"], "TMPDIR": str(tmp), **more}


def processes_of(folder: Path) -> list[str]:
    """Command lines of the living processes that work below ``folder``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.readlink(entry / "cwd").startswith(str(folder)):
                    found.append((entry / "cmdline").read_text().replace("\0", " "))
            except OSError:  # gone meanwhile
                continue
    return found


def gone(folder: Path, within_s: float = 10.0) -> bool:
    until = time.monotonic() + within_s
    while processes_of(folder):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def test_the_demo_runs_where_nothing_is_set_up_and_leaves_nothing_behind(tmp_path: Path) -> None:
    done = subprocess.run(
        [*LOCUM, "demo"],
        env=environment(tmp_path),
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kill -9" in done.stdout
    assert "SIGSTOP" in done.stdout
    assert done.stdout.endswith("Every commit was built exactly once, and every tick came exactly once.\n")
    assert done.stderr == ""
    assert gone(tmp_path)
    assert list(tmp_path.iterdir()) == []


def _started(tmp_path: Path, *options: str) -> subprocess.Popen[str]:
    """The demo, as far as its masters being up."""
    demo = subprocess.Popen(
        [*LOCUM, "demo", *options], env=environment(tmp_path), stdout=subprocess.PIPE, text=True, cwd="/"
    )
    assert demo.stdout is not None
    for line in demo.stdout:
        if "are active" in line or "is active" in line:
            return demo
    raise AssertionError("the masters did not come up")


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_interrupted_ends_its_masters_and_removes_its_folder(
    tmp_path: Path, ending: signal.Signals
) -> None:
    demo = _started(tmp_path)
    demo.send_signal(ending)
    demo.communicate(timeout=30)
    assert demo.returncode == 130
    assert gone(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_demo_that_is_killed_takes_its_masters_with_it(tmp_path: Path) -> None:
    demo = _started(tmp_path)
    assert processes_of(tmp_path)
    demo.kill()
    demo.communicate(timeout=30)
    assert gone(tmp_path)


def test_an_interrupted_demo_that_was_to_keep_its_folder_says_how_to_look_around(tmp_path: Path) -> None:
    demo = _started(tmp_path, "--keep")
    demo.terminate()
    said, _ = demo.communicate(timeout=30)
    (folder,) = tmp_path.iterdir()
    assert f"locum --config {folder}/master.yaml status" in said
    shown = subprocess.run(
        [*LOCUM, "--config", str(folder / "master.yaml"), "scheduler", "list"],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "commits" in shown.stdout


def test_without_git_the_demo_says_so_in_one_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [*LOCUM, "demo"], env={"PATH": str(tmp_path)}, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "needs git" in done.stderr


# -- PostgreSQL -------------------------------------------------------------------------------------------------------


@pytest.fixture
def empty_database(pg_server: str) -> Iterator[str]:
    """The URL of a PostgreSQL database without any table."""
    name = f"locum_demo_{secrets.token_hex(6)}"
    server = psycopg2.connect(pg_server)
    server.autocommit = True
    server.cursor().execute(f"CREATE DATABASE {name}")
    yield urlunsplit(urlsplit(pg_server)._replace(path=f"/{name}"))
    server.cursor().execute(f"DROP DATABASE {name} WITH (FORCE)")
    server.close()


def tables(url: str) -> int:
    connection = psycopg2.connect(url)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        (count,) = cursor.fetchone() or (0,)
    connection.close()
    return int(count)


def demo_on(url: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LOCUM, "demo", "--database", url],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )


def test_the_demo_runs_on_postgresql_and_takes_its_tables_away_again(empty_database: str, tmp_path: Path) -> None:
    done = demo_on(empty_database, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "exactly once" in done.stdout
    assert tables(empty_database) == 0


def test_the_demo_refuses_a_database_that_is_not_empty(database_url: str, tmp_path: Path) -> None:
    done = demo_on(database_url, tmp_path)
    assert done.returncode == 1
    assert "not empty" in done.stderr or "--database is for PostgreSQL" in done.stderr
    assert list(tmp_path.glob("locum-demo-*")) == []


def test_what_makes_the_schema_can_take_it_away_again(db: Database) -> None:
    assert not db.read(upgrading.is_empty)
    db.write(upgrading.remove)
    assert db.read(upgrading.is_empty)
    assert db.read(upgrading.versions) is None


# -- the tally --------------------------------------------------------------------------------------------------------


def done(what: str | int, term: int = 1, at: int = 0, well: bool = True) -> Done:
    return Done(what, term, at, well)


def test_a_tally_counts_what_is_lost_and_what_is_doubled() -> None:
    row = compared("commits", ["a", "b", "c"], [done("a"), done("a"), done("b"), done("x")])
    assert (row.expected, row.done, row.lost, row.doubled, row.wrong) == (3, 2, 1, 2, 0)
    assert not row.exact


def test_a_tally_of_everything_once_is_exact() -> None:
    row = compared("ticks", due_ticks(100, 10, 125), [done(120), done(100), done(110)])
    assert (row.expected, row.done) == (3, 3)
    assert Verdict((row,)).exact


def test_a_commit_that_was_built_badly_is_not_exact() -> None:
    assert not compared("commits", ["a"], [done("a", well=False)]).exact


def test_a_commit_under_a_term_that_had_ended_is_found() -> None:
    since = {1: 0, 2: 100, 4: 200}
    assert late_commits("commits", [done("a", 1, 99), done("b", 2, 150), done("c", 4, 900)], since) == []
    assert len(late_commits("commits", [done("a", 1, 101), done("b", 2, 201), done("c", 3, 150)], since)) == 3
