"""Transactions on real databases: three outcomes told apart, every wait bounded, no password shown."""

import os
import socket
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg2
import pytest
from locum.db.database import Bounds, Database
from locum.db.errors import BadData, DatabaseAway, DatabaseError, OutcomeUnknown, WrongDatabase
from locum.db.sql import Statement
from locum.db.urls import DatabaseUrl
from sqlalchemy import event

from ..conftest import CLOCKS
from .scene import change_numbers, execute

_PUT = Statement("INSERT INTO counters (name, value) VALUES (:name, 1)")
SHORT = Bounds(connect_s=2, lock_s=0.3, statement_s=0.5, transaction_s=0.6)


def put(conn, name):
    _PUT(conn, name=name)


def there(db, name):
    return execute(db, "SELECT count(*) FROM counters WHERE name = :n", n=name) == [(1,)]


@contextmanager
def opened(url, bounds=None, **more):
    database = Database(DatabaseUrl.parse(url, Path.cwd()), clocks=CLOCKS, label="locum:bounded", bounds=bounds, **more)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def within(seconds):
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


def only(db, dialect):
    if db.dialect != dialect:
        pytest.skip(f"{dialect} only")


# -- committed, or certainly not


def test_what_returned_is_committed(db, database_url):
    assert db.write(lambda conn: put(conn, "a") or "answer") == "answer"
    with opened(database_url) as other:
        assert there(other, "a")


def test_what_raised_is_not_committed_and_the_error_is_the_functions_own(db):
    def fails(conn):
        put(conn, "a")
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        db.write(fails)
    assert not there(db, "a")


def test_reading_changes_nothing(db):
    db.read(put, "a")
    assert not there(db, "a")


def test_a_single_statement_is_committed_by_itself_whatever_follows(db):
    def fails(conn):
        put(conn, "a")
        raise LookupError

    with pytest.raises(LookupError):
        db.single(fails)
    assert there(db, "a")


def test_a_refused_value_is_bad_data_and_the_connection_goes_on(db):
    db.write(put, "a")
    with pytest.raises(BadData):
        db.write(put, "a")
    assert change_numbers(db, "x") == {"x": 1}


@pytest.mark.parametrize("odd", ["a\0b", "\ud800"])
def test_text_that_no_database_keeps_is_bad_data_at_once_for_every_kind_of_call(db, odd):
    for call in (db.write, db.single, db.read):
        with pytest.raises(BadData), within(2):
            call(put, odd)
    assert execute(db, "SELECT count(*) FROM counters WHERE value = 1") == [(0,)]


def test_a_missing_table_is_the_wrong_database_and_says_what_to_do(db):
    with pytest.raises(WrongDatabase, match="locum db upgrade"):
        execute(db, "SELECT * FROM nothing_of_ours")


def test_a_wrong_statement_is_bad_data(db):
    with pytest.raises(DatabaseError) as refused:
        execute(db, "SELEC 1")
    assert isinstance(refused.value, BadData)


# -- away


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hush@127.0.0.1:1/db",
        "postgresql://u:hush@127.0.0.1:1,127.0.0.1:2/db?target_session_attrs=read-write",
        "postgresql:///db?host=/no/such/folder&user=u&password=hush",
        "postgresql://u:hush@no-such-host.invalid/db",
        "sqlite:////no/such/folder/x.sqlite",
    ],
)
def test_a_database_that_is_not_there_is_away_for_every_kind_of_call_and_shows_no_password(url):
    with opened(url, SHORT) as gone:
        for call in (gone.write, gone.read, gone.single):
            with pytest.raises(DatabaseAway) as away, within(8):
                call(put, "a")
            text = f"{away.value} {away.value!r} {away.value.__cause__} {gone!r}"
            assert "hush" not in text


def test_a_wrong_password_is_shown_nowhere(db, database_url):
    only(db, "postgresql")
    parts = urlsplit(database_url)
    wrong = parts._replace(netloc="nobody:hush@").geturl()
    with opened(wrong, SHORT) as other:
        with pytest.raises(DatabaseAway) as away:
            other.write(put, "a")
        assert "nobody" in str(away.value) and "hush" not in f"{away.value}{other!r}{other.url}"


def test_a_database_that_takes_no_writes_is_away_and_nothing_is_lost(db):
    forbid = "PRAGMA query_only = 1" if db.dialect == "sqlite" else "SET TRANSACTION READ ONLY"

    def write(conn):
        conn.exec_driver_sql(forbid)
        put(conn, "a")

    with pytest.raises(DatabaseAway):
        db.write(write)


def test_a_full_database_is_away_and_recovers(db):
    only(db, "sqlite")

    def write(conn):
        pages = conn.exec_driver_sql("PRAGMA page_count").scalar_one()
        conn.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        try:
            for n in range(200):
                put(conn, f"{n}" + "x" * 1000)
        finally:
            conn.exec_driver_sql("PRAGMA max_page_count = 1000000")

    with pytest.raises(DatabaseAway, match="full"):
        db.write(write)
    assert execute(db, "SELECT count(*) FROM counters WHERE value = 1") == [(0,)]
    db.write(put, "a")


def terminate_others(url):
    raw = psycopg2.connect(url)
    raw.autocommit = True
    cursor = raw.cursor()
    cursor.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    for _ in range(500):
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        if cursor.fetchone() == (0,):
            break
        time.sleep(0.01)
    raw.close()


def test_a_session_ended_in_the_middle_is_away_nothing_is_committed_and_the_next_call_works(db, database_url):
    only(db, "postgresql")

    def write(conn):
        put(conn, "a")
        terminate_others(database_url)
        put(conn, "b")

    with pytest.raises(DatabaseAway):
        db.write(write)
    assert not there(db, "a")
    db.write(put, "c")
    assert there(db, "c")


def test_a_session_ended_before_a_single_statement_leaves_its_outcome_open(db, database_url):
    only(db, "postgresql")

    def write(conn):
        terminate_others(database_url)
        put(conn, "a")

    with pytest.raises(OutcomeUnknown):
        db.single(write)


def test_sessions_that_ended_while_they_lay_idle_in_the_pool_are_replaced(db, database_url):
    only(db, "postgresql")
    db.write(put, "a")
    terminate_others(database_url)
    try:
        db.write(put, "b")
    except DatabaseAway:  # it certainly was not committed, so trying again is right
        assert not there(db, "b")
        db.write(put, "b")
    assert there(db, "b")


# -- nobody knows


class Cutter:
    """Stands between a client and the server's socket; cuts the line at COMMIT, before or after it got through."""

    def __init__(self, folder, database_url, *, deliver):
        query = parse_qs(urlsplit(database_url).query)
        self._server = query["host"][0] + "/.s.PGSQL." + query.get("port", ["5432"])[0]
        self._deliver = deliver
        self.armed = False
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / ".s.PGSQL.5432"))
        self._listener.listen()
        parts = urlsplit(database_url)
        self.url = parts._replace(query=f"host={folder}").geturl()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server)
            for a, b, checks in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._copy, args=(a, b, checks), daemon=True).start()

    def _copy(self, source, target, checks):
        try:
            while data := source.recv(65536):
                if checks and self.armed and b"COMMIT" in data:
                    if self._deliver:
                        self.armed = False
                        source.shutdown(socket.SHUT_RDWR)  # the answer finds nobody
                        target.sendall(data)
                        time.sleep(0.3)
                    break
                target.sendall(data)
        except OSError:
            pass
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self):
        self._listener.close()


@pytest.mark.parametrize("deliver", [True, False], ids=["delivered", "lost"])
def test_when_the_answer_to_commit_is_lost_nobody_knows_and_that_is_said(db, database_url, tmp_path, deliver):
    only(db, "postgresql")
    cutter = Cutter(tmp_path, database_url, deliver=deliver)
    try:
        with opened(cutter.url, SHORT) as far:
            far.write(put, "before")
            cutter.armed = True
            with pytest.raises(OutcomeUnknown, match="the answer to COMMIT was lost"):
                far.write(put, "a")
            cutter.armed = False
            deadline = time.monotonic() + 5
            while deliver and not there(db, "a") and time.monotonic() < deadline:
                time.sleep(0.02)
            assert there(db, "a") == deliver
            far.write(put, "after")
    finally:
        cutter.close()
    assert there(db, "after")


def test_a_session_ended_just_before_commit_leaves_the_outcome_open(db, database_url):
    only(db, "postgresql")

    def write(conn):
        put(conn, "a")
        terminate_others(database_url)

    with pytest.raises(OutcomeUnknown):
        db.write(write)
    assert not there(db, "a")


# -- bounds


def test_waiting_for_a_lock_is_bounded(db, database_url):
    with opened(database_url, SHORT) as hasty:

        def holding(conn):
            conn.exec_driver_sql("UPDATE counters SET value = value WHERE name = 'tasks'")
            with pytest.raises(DatabaseAway), within(3):
                execute(hasty, "UPDATE counters SET value = value + 1 WHERE name = 'tasks'")

        db.write(holding)
        execute(hasty, "UPDATE counters SET value = value + 1 WHERE name = 'tasks'")
    assert execute(db, "SELECT value FROM counters WHERE name = 'tasks'") == [(1,)]


def test_one_statement_is_bounded(db, database_url):
    only(db, "postgresql")
    with opened(database_url, SHORT) as hasty:
        with pytest.raises(DatabaseAway), within(3):
            execute(hasty, "SELECT pg_sleep(20)")
        hasty.write(put, "a")


def test_a_transaction_that_is_left_open_is_bounded(db, database_url):
    only(db, "postgresql")
    with opened(database_url, SHORT) as hasty:

        def dawdle(conn):
            put(conn, "a")
            time.sleep(1.2)
            put(conn, "b")

        with pytest.raises(DatabaseAway), within(5):
            hasty.write(dawdle)
        assert not there(db, "a")


def test_waiting_for_a_connection_of_the_pool_is_bounded(db, database_url):
    with (
        opened(database_url, Bounds(connect_s=0.2, transaction_s=0.3), pool_size=1) as small,
        pytest.raises(DatabaseAway),
        within(5),
    ):
        small.read(lambda conn: small.read(lambda other: None))


def test_a_call_that_is_stuck_can_be_cut_from_another_thread_and_the_next_works(db, database_url):
    endless = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
        if db.dialect == "sqlite"
        else "SELECT pg_sleep(60)"
    )
    with opened(database_url, Bounds(statement_s=60)) as database:
        began, ended = threading.Event(), []
        event.listen(database._engine, "before_cursor_execute", lambda *a: began.set())

        def stuck():
            try:
                database.read(lambda conn: conn.exec_driver_sql(endless).all())
            except DatabaseError as error:
                ended.append(error)

        thread = threading.Thread(target=stuck)
        thread.start()
        assert began.wait(10)
        assert database.cut_overdue() == 0  # it is not overdue yet
        deadline = time.monotonic() + 10
        while thread.is_alive() and time.monotonic() < deadline:
            database.cut_overdue(older_than_us=-1)
            thread.join(0.05)
        assert not thread.is_alive() and isinstance(ended[0], DatabaseAway)
        database.write(put, "a")
    assert there(db, "a")


def test_what_is_overdue_is_judged_by_the_boottime_since_the_call_began(db, database_url):
    now = [1_000_000]
    clocks = type(CLOCKS)(CLOCKS.wall_us, lambda: now[0])
    database = Database(
        DatabaseUrl.parse(database_url, Path.cwd()), clocks=clocks, label="locum:x", bounds=Bounds(transaction_s=10)
    )

    def look(conn):
        counts = []
        for later in (9_000_000, 2_000_000):
            now[0] += later
            counts.append(len([1 for _, since in database._busy.values() if now[0] - since > 10_000_000]))
        return counts

    assert database.read(look) == [0, 1]
    assert database.cut_overdue() == 0  # nothing is in use any more
    database.close()


def test_closing_frees_whoever_is_inside_and_is_legal_twice(db, database_url):
    with opened(database_url) as database:
        database.read(lambda conn: None)
        database.close()
        database.close()


# -- kinds of connections


def test_writers_on_sqlite_take_their_lock_first_so_none_fails_half_way(db, database_url):
    only(db, "sqlite")
    with opened(database_url) as other:
        errors = []

        def bump(database):
            def read_then_write(conn):
                value = conn.exec_driver_sql("SELECT value FROM counters WHERE name = 'tasks'").scalar_one()
                conn.exec_driver_sql(f"UPDATE counters SET value = {value + 1} WHERE name = 'tasks'")

            for _ in range(20):
                try:
                    database.write(read_then_write)
                except DatabaseError as error:
                    errors.append(error)

        threads = [threading.Thread(target=bump, args=(d,)) for d in (db, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert errors == []
    assert execute(db, "SELECT value FROM counters WHERE name = 'tasks'") == [(40,)]


def test_sqlite_is_durable_and_postgresql_knows_who_we_are(db):
    if db.dialect == "sqlite":
        pragmas = ("synchronous", "journal_mode", "foreign_keys")
        found = db.read(lambda conn: [conn.exec_driver_sql(f"PRAGMA {p}").scalar_one() for p in pragmas])
        assert found == [2, "wal", 1]
    else:
        assert execute(db, "SELECT current_setting('application_name')") == [("locum:test:pool",)]
        raw = db.connect_raw("listen")
        assert raw.autocommit
        raw.close()


def test_no_file_descriptor_is_left_behind(db, database_url):
    def count():
        return len(os.listdir("/proc/self/fd"))

    before = count()
    for _ in range(5):
        with opened(database_url) as database:
            database.write(lambda conn: None)
            database.read(lambda conn: None)
    assert count() <= before + 1
