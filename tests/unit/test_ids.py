"""Ids in blocks: each once, answered at once, asked for ahead of need."""

import pytest
from locum.db.errors import DatabaseAway
from locum.master.ids import LARGEST, SMALLEST, IdBlock
from twisted.internet.defer import Deferred


class Counter:
    """Stands for the database's counter; answers when it is told to."""

    def __init__(self):
        self.last = 0
        self.asked = []

    def single(self, function, counter, n):
        answer = Deferred()
        self.asked.append((n, answer))
        return answer

    def answer(self):
        n, answer = self.asked.pop(0)
        self.last += n
        answer.callback(range(self.last - n + 1, self.last + 1))
        return n

    def fail(self):
        self.asked.pop(0)[1].errback(DatabaseAway("gone"))


@pytest.fixture
def counter():
    return Counter()


@pytest.fixture
def ids(counter):
    return IdBlock(counter, "tasks")


def test_there_are_none_until_they_are_asked_for(ids, counter):
    assert ids.take(1) is None
    refilled = ids.refill(1)
    assert not refilled.called
    assert counter.answer() == SMALLEST
    assert refilled.called and ids.take(3) == [1, 2, 3]
    assert ids.refill(1).called


def test_ids_are_given_once_each_across_blocks(ids, counter):
    given = []
    while len(given) < 1000:
        got = ids.take(7)
        if got is None:
            ids.refill(7)
            counter.answer()
        else:
            given += got
            while counter.asked:
                counter.answer()
    assert len(set(given)) == len(given) and given == sorted(given)


def test_more_are_asked_for_ahead_of_need_in_growing_blocks(ids, counter):
    ids.refill(1)
    counter.answer()
    sizes = []
    for _ in range(20):
        while ids.take(SMALLEST // 2) is not None and not counter.asked:
            pass
        sizes.append(counter.answer())
    assert sizes == sorted(sizes) and SMALLEST < sizes[0] < sizes[1] and sizes[-1] == LARGEST


def test_a_large_wish_is_one_question(ids, counter):
    ids.refill(50_000)
    assert counter.answer() >= 50_000
    assert len(ids.take(50_000)) == 50_000


def test_everybody_who_waits_hears_of_the_same_answer(ids, counter):
    waiting = [ids.refill(1) for _ in range(3)]
    assert len(counter.asked) == 1
    counter.answer()
    assert all(w.called for w in waiting)


def test_who_needs_more_than_came_asks_again(ids, counter):
    heard = []
    ids.refill(1).addCallback(lambda _: heard.append("first"))
    ids.refill(5000).addCallback(lambda _: heard.append("second"))
    counter.answer()
    assert heard == ["first"]
    counter.answer()
    assert heard == ["first", "second"] and len(ids.take(5000)) == 5000


def test_a_database_that_is_away_fails_whoever_waits_and_the_next_question_is_new(ids, counter):
    errors = []
    first, second = ids.refill(1), ids.refill(1)
    first.addErrback(lambda f: errors.append(f.type))
    second.addErrback(lambda f: errors.append(f.type))
    while counter.asked:
        counter.fail()
    assert errors == [DatabaseAway, DatabaseAway]
    refilled = ids.refill(1)
    counter.answer()
    assert refilled.called


def test_a_question_ahead_of_need_that_fails_is_nobodys_error(ids, counter):
    ids.refill(1)
    counter.answer()
    ids.take(SMALLEST - 2)
    counter.fail()
    assert ids.take(2) == [SMALLEST - 1, SMALLEST]
    assert ids.take(1) is None
