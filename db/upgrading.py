"""Which schema a database has, and bringing it to ours: one at a time, all or nothing.

The database says ``schema_version`` (what wrote it last) and ``oldest_compatible`` (the oldest release that may still
work with it). A migration adds first; what it makes useless goes one release later, so a running older master survives.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection

from . import schema
from .database import Database
from .errors import WrongDatabase
from .sql import Statement

SQLITE_APPLICATION_ID = 0x4C6F636D  # 'Locm': tells our files from those of other programs
_LOCK_KEY = 0x4C6F63756D

_VERSIONS = Statement("SELECT cluster_id, schema_version, oldest_compatible FROM cluster WHERE id = 1")
_CREATE_CLUSTER = Statement(
    "INSERT INTO cluster (id, cluster_id, schema_version, oldest_compatible, created_at)"
    " VALUES (1, :cluster_id, :version, :oldest, {now})"
)
_RAISE_VERSION = Statement(
    "UPDATE cluster SET schema_version = :version, oldest_compatible = :oldest WHERE id = 1 AND schema_version < :version"
)
_COUNTER = Statement("INSERT INTO counters (name, value) VALUES (:name, 0) ON CONFLICT (name) DO NOTHING")
COUNTERS = ("changes", "finished", "buildsets", "tasks", "messages", "schedules")


@dataclass(frozen=True, slots=True)
class Versions:
    """What a database says of itself."""

    cluster_id: str
    schema_version: int
    oldest_compatible: int

    @property
    def fits(self) -> bool:
        """Whether this release may work with it as it is."""
        return self.oldest_compatible <= schema.SCHEMA_VERSION and self.schema_version >= schema.OLDEST_COMPATIBLE


def versions(conn: Connection) -> Versions | None:
    """The versions in the database; None if it is empty. WrongDatabase: it belongs to another program."""
    if conn.dialect.name == "sqlite":
        found = conn.exec_driver_sql("PRAGMA application_id").scalar_one()
        if found not in (0, SQLITE_APPLICATION_ID):
            raise WrongDatabase(f"the file belongs to another program (application_id {found:#x}); use another file")
    there = set(inspect(conn).get_table_names())
    if "cluster" in there and "locum_alembic_version" in there:
        row = _VERSIONS(conn).one_or_none()
        if row is not None:
            if not isinstance(row.schema_version, int) or not isinstance(row.oldest_compatible, int):
                raise WrongDatabase("the versions in the table 'cluster' are not numbers; restore a backup")
            return Versions(row.cluster_id, row.schema_version, row.oldest_compatible)
    taken = sorted(there & set(schema.metadata.tables))
    if taken:
        raise WrongDatabase(
            f"the database has tables of another program with our names ({', '.join(taken[:3])}); use a database of its own"
        )
    if conn.dialect.name == "sqlite" and there:
        raise WrongDatabase(
            f"the file has tables of another program ({', '.join(sorted(there)[:3])}); use another file"
        )
    return None


def upgrade(conn: Connection) -> tuple[int | None, int]:
    """Bring the schema to ours: (version before, or None for an empty database; version now).

    One transaction, and one at a time: whoever comes second waits, and finds nothing left to do.
    """
    if conn.dialect.name == "postgresql":
        # Whoever comes first may take longer than rows are waited for; statement_timeout bounds the wait all the same.
        usual = conn.execute(text("SELECT current_setting('lock_timeout')")).scalar_one()
        conn.execute(text("SELECT set_config('lock_timeout', '0', true)"))
        conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
        conn.execute(text("SELECT set_config('lock_timeout', :bound, true)"), {"bound": usual})
    before = versions(conn)
    if before is not None and before.schema_version >= schema.SCHEMA_VERSION:
        return before.schema_version, before.schema_version
    if before is None and conn.dialect.name == "postgresql":
        _refuse_encoding(conn.execute(text("SHOW server_encoding")).scalar_one())
    _migrate(conn)
    if before is None:
        _CREATE_CLUSTER(
            conn, cluster_id=secrets.token_hex(8), version=schema.SCHEMA_VERSION, oldest=schema.OLDEST_COMPATIBLE
        )
        if conn.dialect.name == "sqlite":
            conn.exec_driver_sql(f"PRAGMA application_id = {SQLITE_APPLICATION_ID}")
    else:
        _RAISE_VERSION(conn, version=schema.SCHEMA_VERSION, oldest=schema.OLDEST_COMPATIBLE)
    for name in COUNTERS:
        _COUNTER(conn, name=name)
    return (before.schema_version if before else None), schema.SCHEMA_VERSION


def _refuse_encoding(encoding: str) -> None:
    """A database that cannot keep every text would stop a poller at the first author whose name it does not know."""
    if encoding != "UTF8":
        raise WrongDatabase(
            f"the database's encoding is {encoding}, so it cannot keep every name and comment; make one with"
            " ENCODING 'UTF8' TEMPLATE template0"
        )


def _migrate(conn: Connection) -> None:
    # Only here, as it takes a third of a second: a start that finds the schema in place never imports Alembic.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = conn
    command.upgrade(config, "head")


def prepare(database: Database, *, migrate: bool) -> Versions:
    """The versions of a database that is ready for use, upgraded first if need be and ``migrate`` allows it.

    WrongDatabase: it is another program's, too new for this release, or not upgraded while ``migrate`` is False.
    """
    found = database.read(versions)
    if found is None or found.schema_version < schema.SCHEMA_VERSION:
        if not migrate:
            has = "is empty" if found is None else f"has schema version {found.schema_version}"
            raise WrongDatabase(
                f"{database.url} {has}, this release needs {schema.SCHEMA_VERSION}; run 'locum db upgrade'"
            )
        database.write(upgrade)
        found = database.read(versions)
        assert found is not None
    if not found.fits:
        raise WrongDatabase(
            f"{database.url} was upgraded by a newer release (schema version {found.schema_version}, needs at least a"
            f" release of version {found.oldest_compatible}); install that release on this master"
        )
    return found


def is_empty(conn: Connection) -> bool:
    """Whether there is no table at all, of whatever program."""
    return not inspect(conn).get_table_names()


def remove(conn: Connection) -> None:
    """Take everything of ours out of a database again: all tables, with all that is in them."""
    schema.metadata.drop_all(conn)
    conn.execute(text("DROP TABLE IF EXISTS locum_alembic_version"))
