"""Fail points end or freeze a process just there, and do nothing unless they are asked to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from locum.db import fail_points
from locum.tests.conftest import opened
from sqlalchemy import text

WRITER = """
import sys
from locum.db import fail_points
from locum.tests.conftest import opened
from sqlalchemy import text

def _note(conn, number):
    conn.execute(text("INSERT INTO notes VALUES (:n)"), {"n": number})

fail_points.arm(sys.argv[2])
database = opened(sys.argv[1])
for number in range(4):
    database.write(_note, number)
"""


def written(path: Path, order: str) -> tuple[int, str, list[int]]:
    """(exit code, what was said, the notes that are there) of a process that writes four notes, one at a time."""
    database = opened(f"sqlite:///{path}")
    database.write(lambda conn: conn.execute(text("CREATE TABLE notes (n int)")))
    done = subprocess.run(
        [sys.executable, "-c", WRITER, f"sqlite:///{path}", order], check=False, capture_output=True, text=True
    )
    notes = [row[0] for row in database.read(lambda conn: list(conn.execute(text("SELECT n FROM notes ORDER BY n"))))]
    database.close()
    return done.returncode, done.stderr, notes


def test_a_process_dies_just_before_its_third_commit(tmp_path: Path) -> None:
    code, said, notes = written(tmp_path / "db", "note.before:3:kill")
    assert (code, notes) == (-signal.SIGKILL, [0, 1])
    assert said == "fail point note.before: SIGKILL\n"


def test_a_process_dies_just_after_its_third_commit(tmp_path: Path) -> None:
    code, _, notes = written(tmp_path / "db", "note.after:3:kill")
    assert (code, notes) == (-signal.SIGKILL, [0, 1, 2])


def test_nothing_happens_at_points_that_are_not_reached_or_not_asked_for(tmp_path: Path) -> None:
    assert written(tmp_path / "a", "note.after:9:kill") == (0, "", [0, 1, 2, 3])
    assert written(tmp_path / "b", "") == (0, "", [0, 1, 2, 3])


def test_all_points_are_told_once_each(tmp_path: Path) -> None:
    assert written(tmp_path / "db", "trace")[1].splitlines() == ["fail point note.before", "fail point note.after"]


def test_freezing_stops_the_process_until_it_is_continued(tmp_path: Path) -> None:
    child = os.fork()
    if not child:
        fail_points.arm("here:1:freeze")
        fail_points.reach("here")
        os._exit(7)
    assert os.WIFSTOPPED(os.waitpid(child, os.WUNTRACED)[1])
    os.kill(child, signal.SIGCONT)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


@pytest.mark.parametrize("order", ["commit.after", "commit.after:x:kill", "commit.after:1:explode", ":::"])
def test_an_order_that_nobody_understands_is_refused(order: str) -> None:
    with pytest.raises(ValueError, match="LOCUM_FAIL_POINT"):
        fail_points.arm(order)
