"""Changes: numbered in the order in which they commit, and each request once."""

import threading
from dataclasses import replace

import pytest
from locum.db import changes
from locum.db.errors import BadData

from ..conftest import opened
from .scene import a_change, change_numbers, execute


def test_a_change_is_kept_whole(db):
    new = replace(
        a_change("r1", who="Ann <a@x>", comments="fix: 'all' %s :x\n\u2028", branch="main", revision="abc"),
        files_json='["a.c", "ü/😀"]',
        category="c",
        codebase="app",
        project="p",
        properties_json='{"k": [1, null]}',
        revlink="http://x",
        committer="Bob",
        when_at=1_700_000_000_000_000,
    )
    assert db.write(changes.add, [new]) == {"r1": 1}
    (row,) = db.read(changes.after, 0)
    assert row.number == 1 and row.files == ("a.c", "ü/😀") and row.properties == {"k": [1, None]}
    same = ("request_id", "when_at", "who", "committer", "comments", "branch", "revision", "category")
    for name in (*same, "repository", "codebase", "project", "revlink"):
        assert getattr(row, name) == getattr(new, name)
    assert row.received_at > row.when_at


def test_without_a_time_it_is_the_moment_of_receiving(db):
    db.write(changes.add, [a_change("r1")])
    (row,) = db.read(changes.after, 0)
    assert abs(row.received_at - row.when_at) < 1_000_000


def test_a_repeated_request_is_one_change_with_its_first_number(db):
    assert change_numbers(db, "a", "b") == {"a": 1, "b": 2}
    assert change_numbers(db, "c", "a", "c") == {"a": 1, "c": 3}
    assert [r.request_id for r in db.read(changes.after, 0)] == ["a", "b", "c"]
    assert db.write(changes.add, []) == {}


def test_numbers_have_no_gaps_even_where_a_transaction_was_given_up(db):
    change_numbers(db, "a")

    def fails(conn):
        changes.add(conn, [a_change("b"), a_change("c")])
        raise LookupError

    with pytest.raises(LookupError):
        db.write(fails)
    assert change_numbers(db, "d") == {"d": 2}
    assert db.read(changes.last_number) == 2


def test_of_two_that_insert_at_once_the_higher_number_commits_later(db, database_url):
    """Whoever has seen number n has missed nothing before it."""
    other = opened(database_url)
    inside, go = threading.Event(), threading.Event()
    second_done = threading.Event()

    def first(conn):
        changes.add(conn, [a_change("slow")])
        inside.set()
        go.wait(10)

    def second():
        assert inside.wait(10)
        change_numbers(other, "quick")
        second_done.set()

    threads = [threading.Thread(target=db.write, args=(first,)), threading.Thread(target=second)]
    try:
        for thread in threads:
            thread.start()
        assert inside.wait(10)
        assert not second_done.wait(0.2)  # it waits for the first's COMMIT
        assert other.read(changes.after, 0) == []
        go.set()
        assert second_done.wait(10)
        assert [(r.number, r.request_id) for r in db.read(changes.after, 0)] == [(1, "slow"), (2, "quick")]
    finally:
        go.set()
        for thread in threads:
            thread.join(10)
        other.close()


def test_a_reader_that_follows_many_writers_sees_every_change_once_and_in_order(db, database_url):
    count, writers = 15, 4
    over = threading.Event()
    seen = []

    def write(writer):
        mine = opened(database_url, f"locum:w{writer}")
        try:
            for n in range(count):
                change_numbers(mine, f"{writer}-{n}")
        finally:
            mine.close()

    def read():
        while True:
            last_round = over.is_set()
            rows = db.read(changes.after, seen[-1] if seen else 0)
            seen.extend(r.number for r in rows)
            if last_round and not rows:
                return

    reader = threading.Thread(target=read)
    threads = [threading.Thread(target=write, args=(w,)) for w in range(writers)]
    for thread in (reader, *threads):
        thread.start()
    for thread in threads:
        thread.join(60)
    over.set()
    reader.join(60)
    assert seen == list(range(1, count * writers + 1))


def test_the_same_request_from_two_at_once_is_one_change(db, database_url):
    other = opened(database_url)
    barrier = threading.Barrier(2)
    numbers = []

    def add(database):
        barrier.wait(10)
        numbers.append(change_numbers(database, "same")["same"])

    threads = [threading.Thread(target=add, args=(d,)) for d in (db, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    other.close()
    assert numbers == [1, 1] and len(db.read(changes.after, 0)) == 1


def test_reading_is_bounded_and_goes_both_ways(db):
    change_numbers(db, *(f"r{n}" for n in range(1, 8)))
    assert [r.number for r in db.read(changes.after, 2, 3)] == [3, 4, 5]
    assert [r.number for r in db.read(changes.newest, 2)] == [7, 6]
    assert [r.number for r in db.read(changes.these, [5, 2, 99, 2])] == [2, 5]
    assert db.read(changes.these, []) == []
    assert db.read(changes.last_number) == 7 == db.write(changes.lock_order)


@pytest.mark.parametrize("odd", ["a\0b", "half \ud83d"])
def test_text_that_no_database_keeps_is_bad_data_and_leaves_no_gap(db, odd):
    with pytest.raises(BadData):
        db.write(changes.add, [a_change("a"), a_change("b", comments=odd)])
    assert change_numbers(db, "c") == {"c": 1}


def test_ten_thousand_changes_are_one_statement_for_all(db):
    assert len(change_numbers(db, *(f"r{n}" for n in range(10_000)))) == 10_000
    assert execute(db, "SELECT count(*), max(number) FROM changes") == [(10_000, 10_000)]
