"""A closed database holds no file: neither what lay in its pool nor what a thread was inside of just then."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from pathlib import Path

from locum.db.errors import DatabaseError
from locum.tests.conftest import opened
from sqlalchemy import text
from sqlalchemy.engine import Connection


def files(path: Path) -> list[str]:
    """The descriptors of this process that are the database's."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(os.readlink(entry))
    return [name for name in found if name.startswith(str(path))]


def test_a_connection_that_is_in_use_at_the_close_is_closed_when_it_comes_back(tmp_path: Path) -> None:
    """Each lapse of a lease left some behind, until the garbage collector came by."""
    path = tmp_path / "locum.sqlite"
    database = opened(f"sqlite:///{path}")
    inside, go_on = threading.Event(), threading.Event()

    def slow(conn: Connection) -> None:
        conn.execute(text("CREATE TABLE t (n int)"))
        inside.set()
        go_on.wait(10)
        conn.execute(text("INSERT INTO t VALUES (1)"))

    def work() -> None:
        with contextlib.suppress(DatabaseError):
            database.write(slow)

    gc.disable()
    try:
        thread = threading.Thread(target=work)
        thread.start()
        assert inside.wait(10) and files(path)
        database.close()
        go_on.set()
        thread.join()
        assert not files(path)
    finally:
        gc.enable()
    database.close()
