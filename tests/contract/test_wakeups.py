"""Wake-ups: whoever listens hears what is new, once, and with nothing lost between two looks."""

import os
import threading

import pytest
from locum.db import wakeups

from ..conftest import opened
from .scene import change_numbers


@pytest.fixture
def pipe():
    fds = os.pipe()
    yield fds
    for fd in fds:
        os.close(fd)


@pytest.fixture
def ear(db, pipe):
    """``ear()`` gives the topics heard since the last call."""
    raw = db.connect_raw("listen")
    if db.dialect == "sqlite":
        watch = wakeups.FileWatch(lambda: raw)
        yield watch.heard
        watch.close()
        return
    wakeups.start_listening(raw)
    yield lambda: wakeups.hear(raw, pipe[0], 0.3)
    raw.close()


def test_what_is_announced_is_heard_once_with_its_topics(db, ear):
    db.single(wakeups.announce, {"tasks", "changes"})
    assert ear() == {"tasks", "changes"}
    assert ear() == set()


def test_several_announcements_between_two_looks_are_heard_together(db, ear):
    for topics in ({"tasks"}, {"messages"}, {"tasks", "orders"}):
        db.single(wakeups.announce, topics)
    heard = ear()
    heard |= ear()
    assert heard == {"tasks", "messages", "orders"}


def test_every_announcement_of_one_topic_is_heard(db, ear):
    for _ in range(5):
        db.single(wakeups.announce, {"changes"})
        assert ear() == {"changes"}


def test_a_write_without_an_announcement_wakes_nobody(db, ear):
    change_numbers(db, "a")
    assert ear() == set()


def test_another_connection_is_heard_too(db, database_url, ear):
    other = opened(database_url, "locum:other")
    other.single(wakeups.announce, {"masters"})
    other.close()
    assert ear() == {"masters"}


def test_topics_of_a_newer_release_are_passed_over(db, ear):
    db.single(wakeups.announce, {"tasks", "something-new"})
    assert ear() == {"tasks"}


def test_every_listener_hears(db):
    raws = [db.connect_raw("listen") for _ in range(3)]
    if db.dialect == "sqlite":
        watches = [wakeups.FileWatch(lambda raw=raw: raw) for raw in raws]
        db.single(wakeups.announce, {"finished"})
        assert [w.heard() for w in watches] == [{"finished"}] * 3
    else:
        for raw in raws:
            wakeups.start_listening(raw)
        db.single(wakeups.announce, {"finished"})
        assert [wakeups.hear(raw, raw.fileno(), 5) for raw in raws] == [{"finished"}] * 3
    for raw in raws:
        raw.close()


def test_a_listener_can_be_called_away(db, pipe):
    if db.dialect == "sqlite":
        pytest.skip("a file is looked at, not waited for")
    raw = db.connect_raw("listen")
    wakeups.start_listening(raw)
    heard = []
    thread = threading.Thread(target=lambda: heard.append(wakeups.hear(raw, pipe[0], 60)))
    thread.start()
    os.write(pipe[1], b"x")
    thread.join(10)
    assert heard == [set()]
    raw.close()
