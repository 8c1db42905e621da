"""From an empty database to ours: by anybody who comes first, all or nothing, and never into another program's."""

import secrets
import sqlite3
import threading
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from locum.db import schema, upgrading
from locum.db.errors import DatabaseAway, WrongDatabase
from sqlalchemy import inspect

from ..conftest import opened
from .scene import change_numbers, execute, joined, registered, taken


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request, tmp_path):
    """A database with nothing in it."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/new.sqlite"
        return
    server = request.getfixturevalue("pg_server")
    name = f"locum_empty_{secrets.token_hex(6)}"
    raw = psycopg2.connect(server)
    raw.autocommit = True
    raw.cursor().execute(f"CREATE DATABASE {name}")
    yield urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
    raw.cursor().execute(f"DROP DATABASE {name} WITH (FORCE)")
    raw.close()


@pytest.fixture
def empty(empty_url):
    database = opened(empty_url)
    yield database
    database.close()


def tables(database):
    return database.read(lambda conn: set(inspect(conn).get_table_names()))


def test_an_empty_database_becomes_ours(empty):
    assert empty.read(upgrading.versions) is None
    found = upgrading.prepare(empty, migrate=True)
    assert (found.schema_version, found.oldest_compatible) == (schema.SCHEMA_VERSION, schema.OLDEST_COMPATIBLE)
    assert found.fits and len(found.cluster_id) == 16
    assert tables(empty) == {*schema.metadata.tables, "locum_alembic_version"}
    assert sorted(execute(empty, "SELECT name, value FROM counters")) == [(n, 0) for n in sorted(upgrading.COUNTERS)]
    assert change_numbers(empty, "a") == {"a": 1}


def test_a_second_time_nothing_is_done_and_the_cluster_stays_the_same(empty):
    first = upgrading.prepare(empty, migrate=True)
    assert upgrading.prepare(empty, migrate=True) == first == upgrading.prepare(empty, migrate=False)
    assert empty.write(upgrading.upgrade) == (schema.SCHEMA_VERSION, schema.SCHEMA_VERSION)


def test_several_that_start_at_once_on_an_empty_database_all_come_up_in_one_cluster(empty_url):
    databases = [opened(empty_url, f"locum:{n}") for n in range(3)]
    barrier = threading.Barrier(len(databases))
    found, errors = [], []

    def start(database):
        barrier.wait(10)
        try:
            found.append(upgrading.prepare(database, migrate=True))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=start, args=(d,)) for d in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for database in databases:
        database.close()
    assert errors == []
    assert len(found) == 3 and len({v.cluster_id for v in found}) == 1


def test_the_migrations_make_exactly_the_schema_that_the_code_describes(empty):
    upgrading.prepare(empty, migrate=True)

    def differences(conn):
        options = {"compare_type": True, "compare_server_default": False, "version_table": "locum_alembic_version"}
        return compare_metadata(MigrationContext.configure(conn, opts=options), schema.metadata)

    assert empty.read(differences) == []


def test_what_must_not_be_is_forbidden_in_a_migrated_database_as_in_one_from_the_metadata(empty):
    """Alembic compares neither check constraints nor the conditions of partial indexes."""
    upgrading.prepare(empty, migrate=True)

    def described(conn):
        look = inspect(conn)
        return {
            table: (
                sorted(c["name"] or "" for c in look.get_check_constraints(table)),
                sorted((i["name"], i["unique"]) for i in look.get_indexes(table)),
                sorted(str(f["constrained_columns"]) for f in look.get_foreign_keys(table)),
                {c["name"]: c["nullable"] for c in look.get_columns(table)},
            )
            for table in schema.metadata.tables
        }

    migrated = empty.read(described)

    def from_metadata(conn):
        schema.metadata.drop_all(conn)
        schema.metadata.create_all(conn)
        return described(conn)

    assert empty.write(from_metadata) == migrated


def test_data_survives_an_upgrade_from_the_first_version(empty):
    """With one migration there is nothing to go through yet; what is there must stay all the same."""
    upgrading.prepare(empty, migrate=True)
    (s,) = registered(empty, "s")
    terms = taken(empty, joined(empty, "m1"), s)
    change_numbers(empty, "a")
    execute(empty, "UPDATE cluster SET schema_version = 0, oldest_compatible = 0")
    before, now = empty.write(upgrading.upgrade)
    assert (before, now) == (0, schema.SCHEMA_VERSION)
    assert empty.read(upgrading.versions).schema_version == schema.SCHEMA_VERSION
    assert execute(empty, "SELECT id, term FROM schedulers") == [(s, terms[s])]
    assert change_numbers(empty, "b") == {"b": 2}


def test_without_leave_to_migrate_it_says_what_to_do_and_changes_nothing(empty):
    with pytest.raises(WrongDatabase, match=r"is empty.*locum db upgrade"):
        upgrading.prepare(empty, migrate=False)
    assert tables(empty) == set()
    upgrading.prepare(empty, migrate=True)
    execute(empty, "UPDATE cluster SET schema_version = 0")
    with pytest.raises(WrongDatabase, match=r"has schema version 0.*locum db upgrade"):
        upgrading.prepare(empty, migrate=False)
    assert empty.read(upgrading.versions).schema_version == 0


def test_a_schema_that_needs_a_newer_release_is_refused_and_one_that_only_is_newer_is_not(empty):
    upgrading.prepare(empty, migrate=True)
    execute(empty, "UPDATE cluster SET schema_version = 99")
    assert upgrading.prepare(empty, migrate=True).schema_version == 99
    execute(empty, "UPDATE cluster SET oldest_compatible = 98")
    with pytest.raises(WrongDatabase, match="needs at least a release of version 98"):
        upgrading.prepare(empty, migrate=True)


def test_another_programs_tables_with_our_names_are_left_alone(empty):
    execute(empty, "CREATE TABLE builders (id integer, thing text)")
    for migrate in (True, False):
        with pytest.raises(WrongDatabase, match=r"another program with our names \(builders\)"):
            upgrading.prepare(empty, migrate=migrate)
    assert tables(empty) == {"builders"}


def test_a_postgresql_that_cannot_keep_every_text_is_refused_before_anything_is_made(pg_server):
    name = f"locum_latin_{secrets.token_hex(6)}"
    raw = psycopg2.connect(pg_server)
    raw.autocommit = True
    raw.cursor().execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    database = opened(urlunsplit(urlsplit(pg_server)._replace(path=f"/{name}")))
    try:
        with pytest.raises(WrongDatabase, match=r"encoding is LATIN1.* make one with ENCODING 'UTF8'"):
            upgrading.prepare(database, migrate=True)
        assert not tables(database)
    finally:
        database.close()
        raw.cursor().execute(f"DROP DATABASE {name} WITH (FORCE)")
        raw.close()


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    database = opened(f"sqlite:///{tmp_path}/none/l.sqlite")
    with pytest.raises(DatabaseAway, match=r"unable to open the file .*/none/l.sqlite"):
        upgrading.prepare(database, migrate=True)
    database.close()


def test_tables_with_other_names_may_stand_beside_ours_on_postgresql_only(empty):
    execute(empty, "CREATE TABLE somebody_elses (id integer)")
    if empty.dialect == "sqlite":
        with pytest.raises(WrongDatabase, match="another program"):
            upgrading.prepare(empty, migrate=True)
    else:
        assert upgrading.prepare(empty, migrate=True).fits


def test_a_migration_that_fails_leaves_nothing_behind(empty, monkeypatch):
    monkeypatch.setattr(upgrading, "_CREATE_CLUSTER", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        upgrading.prepare(empty, migrate=True)
    assert tables(empty) == set()
    monkeypatch.undo()
    assert upgrading.prepare(empty, migrate=True).fits


# -- files


def prepared(path):
    database = opened(f"sqlite:///{path}")
    try:
        return upgrading.prepare(database, migrate=True)
    finally:
        database.close()


def test_our_files_are_marked_as_ours(tmp_path):
    prepared(tmp_path / "l.sqlite")
    raw = sqlite3.connect(tmp_path / "l.sqlite")
    assert raw.execute("PRAGMA application_id").fetchone() == (upgrading.SQLITE_APPLICATION_ID,)
    assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    raw.close()


def test_a_file_that_another_program_has_marked_is_refused_and_unchanged(tmp_path):
    path = tmp_path / "other.sqlite"
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA application_id = 77")
    raw.execute("CREATE TABLE t (a)")
    raw.commit()
    raw.close()
    with pytest.raises(WrongDatabase, match="application_id 0x4d"):
        prepared(path)
    raw = sqlite3.connect(path)
    assert raw.execute("SELECT name FROM sqlite_master").fetchall() == [("t",)]
    raw.close()


@pytest.mark.parametrize(
    "content", [b"This is not a database at all.\n" * 50, b"\x00" * 4096, b"SQLite format 3\x00junk" * 99]
)
def test_a_file_that_is_no_database_is_refused_and_unchanged(tmp_path, content):
    path = tmp_path / "letter.txt"
    path.write_bytes(content)
    with pytest.raises(WrongDatabase):
        prepared(path)
    assert path.read_bytes() == content


def test_a_file_in_a_folder_that_is_not_there_is_a_database_that_is_away(tmp_path):

    with pytest.raises(DatabaseAway):
        prepared(tmp_path / "no/such/folder/l.sqlite")
