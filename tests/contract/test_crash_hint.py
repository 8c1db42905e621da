"""The crash hint: a lock that a process drops when it is killed, believed only by who has seen it held."""

import os
import signal
import subprocess
import sys
import time

import pytest
from locum.db import crash_hint, members

from .scene import joined

FILE_HOLDER = """
import sys, subprocess
from pathlib import Path
from locum.db.crash_hint import LockFile
lock = LockFile(Path(sys.argv[1]), sys.argv[2])
child = subprocess.Popen(["sleep", "60"], close_fds=False) if sys.argv[3:] else None
print(child.pid if child else 0, flush=True)
sys.stdin.read()
lock.close()
"""
KEY_HOLDER = """
import sys, psycopg2
from locum.db.crash_hint import take_key
raw = psycopg2.connect(sys.argv[1])
raw.autocommit = True
print(take_key(raw), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def start():
    """``start(program, *arguments)`` gives a process and the number that it printed first."""
    processes = []

    def started(program, *arguments):
        process = subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        processes.append(process)
        return process, int(process.stdout.readline())

    yield started
    for process in processes:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def killed(process):
    process.send_signal(signal.SIGKILL)
    process.wait(10)


# -- files


def test_a_process_that_is_killed_has_ended_once_its_lock_was_seen_held(start, tmp_path):
    database = tmp_path / "locum.sqlite"
    process, _ = start(FILE_HOLDER, database, "inc")
    peer = crash_hint.PeerFile(database, "inc")
    assert not peer.ended() and not peer.ended()
    killed(process)
    assert peer.ended()
    peer.remove()
    peer.close()
    peer.close()
    assert os.listdir(tmp_path / "locum.sqlite-masters") == []


def test_a_lock_that_was_never_seen_held_tells_nothing(start, tmp_path):
    database = tmp_path / "locum.sqlite"
    process, _ = start(FILE_HOLDER, database, "inc")
    killed(process)
    peer = crash_hint.PeerFile(database, "inc")
    assert not peer.ended() and not peer.ended()
    nobody = crash_hint.PeerFile(database, "never was")
    assert not nobody.ended()
    peer.close(), nobody.close()


def test_a_process_that_is_only_frozen_has_not_ended(start, tmp_path):
    database = tmp_path / "locum.sqlite"
    process, _ = start(FILE_HOLDER, database, "inc")
    peer = crash_hint.PeerFile(database, "inc")
    assert not peer.ended()
    process.send_signal(signal.SIGSTOP)
    assert not peer.ended()
    peer.close()


def test_a_child_that_outlives_it_does_not_hold_the_lock(start, tmp_path):
    database = tmp_path / "locum.sqlite"
    process, child = start(FILE_HOLDER, database, "inc", "with a child")
    peer = crash_hint.PeerFile(database, "inc")
    try:
        assert not peer.ended()
        killed(process)
        assert peer.ended()
    finally:
        os.kill(child, signal.SIGKILL)
        peer.close()


def test_the_file_of_one_that_was_killed_goes_with_whoever_watched_it_and_that_of_a_frozen_one_stays(start, tmp_path):
    database, folder = tmp_path / "locum.sqlite", tmp_path / "locum.sqlite-masters"
    process, _ = start(FILE_HOLDER, database, "inc")
    watching, later = crash_hint.PeerFile(database, "inc"), crash_hint.PeerFile(database, "inc")
    assert not watching.ended()
    process.send_signal(signal.SIGSTOP)
    watching.forget()  # its lease has ended
    assert os.listdir(folder) == ["inc"]
    killed(process)
    later.forget()  # it was found to be dead in another way than by its lock
    later.forget()
    crash_hint.PeerFile(database, "never was").forget()
    assert os.listdir(folder) == []


def test_a_clean_end_removes_the_file_and_closing_twice_is_legal(tmp_path):
    lock = crash_hint.LockFile(tmp_path / "l.sqlite", "inc")
    assert lock.path.exists()
    lock.close()
    lock.close()
    assert not lock.path.exists()


def test_watching_does_not_keep_the_owner_from_its_lock(start, tmp_path):
    database = tmp_path / "locum.sqlite"
    (tmp_path / "locum.sqlite-masters").mkdir()
    (tmp_path / "locum.sqlite-masters" / "inc").touch()
    peer = crash_hint.PeerFile(database, "inc")
    for _ in range(20):
        assert not peer.ended()
    lock = crash_hint.LockFile(database, "inc")
    assert not peer.ended()
    lock.close()
    peer.close()


# -- advisory locks


@pytest.fixture
def raw(db):
    if db.dialect == "sqlite":
        pytest.skip("PostgreSQL only")
    raw = db.connect_raw("watch")
    yield raw
    raw.close()


def test_a_killed_process_drops_its_key_within_moments(db, raw, database_url, start):
    process, key = start(KEY_HOLDER, database_url)
    assert key in crash_hint.held_keys(raw)
    assert not crash_hint.wait_until_free(raw, key, 0.1)
    began = time.monotonic()
    killed(process)
    assert crash_hint.wait_until_free(raw, key, 10)
    assert time.monotonic() - began < 5
    assert key not in crash_hint.held_keys(raw)


def test_a_frozen_process_keeps_its_key(raw, database_url, start):
    process, key = start(KEY_HOLDER, database_url)
    process.send_signal(signal.SIGSTOP)
    assert not crash_hint.wait_until_free(raw, key, 0.2)
    assert key in crash_hint.held_keys(raw)


def test_two_watchers_do_not_keep_each_other_waiting(db, raw, database_url, start):
    process, key = start(KEY_HOLDER, database_url)
    other = db.connect_raw("watch")
    killed(process)
    assert crash_hint.wait_until_free(raw, key, 5) and crash_hint.wait_until_free(other, key, 5)
    assert crash_hint.held_keys(raw) == set()
    other.close()


def test_a_crash_is_declared_once_and_only_on_the_published_key(db, raw):
    joined(db, "m1")
    assert not crash_hint.declare_crashed(raw, "m1", 7)
    db.single(members.set_crash_key, "m1", 7)
    assert not crash_hint.declare_crashed(raw, "m1", 8)
    assert crash_hint.declare_crashed(raw, "m1", 7)
    assert not crash_hint.declare_crashed(raw, "m1", 7)
    found = db.read(members.find, "m1")
    assert (found.state, found.crash_key, found.ended_why) == ("lost", None, "its process ended, or gave up its lease")


def test_keys_are_random_and_ones_own_are_not_anothers(db, raw):
    other = db.connect_raw("watch")
    first, second = crash_hint.take_key(raw), crash_hint.take_key(other)
    assert first != second and crash_hint.held_keys(raw) == {second}
    other.close()


def test_behind_a_pooler_that_shares_sessions_there_is_no_key(db, raw):
    other = db.connect_raw("pooled")

    class Pooled:
        """Each cursor may come to another session."""

        info = raw.info
        turn = 0

        def cursor(self):
            self.turn += 1
            return _Each((raw, other))

    class _Each:
        def __init__(self, raws):
            self._cursors = [r.cursor() for r in raws]

        def __enter__(self):
            return self

        def __exit__(self, *_):
            for cursor in self._cursors:
                cursor.close()

        def execute(self, *statement):
            self._cursors.reverse()
            self._cursors[0].execute(*statement)

        def fetchone(self):
            return self._cursors[0].fetchone()

        def fetchall(self):
            return self._cursors[0].fetchall()

    assert crash_hint.take_key(Pooled()) is None
    other.close()
