"""A scheduler's place in a feed: each item once, in order, from its cursor on, whatever fails between."""

import pytest
from locum.master.feed import Feed
from locum.master.intake import ChangeIntake, Intake
from twisted.internet.defer import Deferred

from .test_feed import Item, Table, read


class Slow(Table):
    """Answers a lagging reader when it is told to."""

    def __init__(self):
        super().__init__()
        self.waiting = []
        self.slow = False

    def single(self, function, *args):
        if not self.slow:
            return super().single(function, *args)
        self.waiting.append(Deferred().addCallback(lambda _: function(*args)))
        return self.waiting[-1]


@pytest.fixture
def table():
    return Slow()


@pytest.fixture
def feed(table):
    return Feed(table, table.after, Item, lambda: None)


def walk(intake):
    """What it offers now, each taken as answered."""
    found = []
    while (offered := intake.next()) is not None:
        item, _, error = offered
        assert error is None
        intake.offered = item.number
        found.append(item.number)
    return found


def begun(feed, cursor, consider=lambda item: True, kind=Intake):
    pumped = []
    intake = kind(feed, cursor, lambda: pumped.append(True))
    intake.pumped = pumped
    intake.consume(consider)
    return intake


def test_one_that_does_not_consume_is_offered_nothing(feed, table):
    feed.begin(0)
    intake = Intake(feed, 0, lambda: None)
    assert intake.next() is None and not intake.consuming and intake.caught_up_to == float("inf")
    assert intake.progress() is None


def test_one_that_never_consumed_begins_where_its_first_turn_was_committed(feed, table):
    feed.begin(0)
    intake = Intake(feed, None, lambda: None)
    assert intake.consume(lambda item: True)
    table.numbers = [1, 2, 3]
    read(feed)
    assert intake.next() is None
    intake.began(2)
    assert walk(intake) == [3]
    intake.began(0)
    assert intake.saved == 2


def test_it_goes_on_from_its_cursor(feed, table):
    feed.begin(0)
    feed.wanted = True
    table.numbers = [1, 2, 3]
    read(feed)
    intake = Intake(feed, 1, lambda: None)
    assert not intake.consume(lambda item: True)
    assert walk(intake) == [2, 3]


def test_what_is_not_wanted_costs_nothing_and_moves_the_place(feed, table):
    feed.begin(0)
    feed.wanted = True
    table.numbers = list(range(1, 11))
    read(feed)
    intake = begun(feed, 0, lambda item: item.number % 5 == 0)
    assert walk(intake) == [5, 10]
    assert intake.progress() == (0, 10) and intake.progress() is None
    table.numbers.append(11)
    read(feed)
    assert walk(intake) == [] and intake.progress() == (10, 11)


def test_an_unimportant_change_is_wanted_only_none_is_not(feed, table):
    feed.begin(0)
    feed.wanted = True
    table.numbers = [1, 2, 3]
    read(feed)
    answers = {1: False, 2: None, 3: True}
    assert walk(begun(feed, 0, lambda item: answers[item.number], ChangeIntake)) == [1, 3]
    assert walk(begun(feed, 0, lambda item: answers[item.number])) == [3]


def test_what_considering_raises_comes_with_the_item_again_and_again(feed, table):
    feed.begin(0)
    feed.wanted = True
    table.numbers = [1, 2]
    read(feed)

    def consider(item):
        raise LookupError("what")

    intake = begun(feed, 0, consider)
    for _ in range(2):
        item, _, error = intake.next()
        assert item == Item(1) and isinstance(error, LookupError)
    assert intake.progress() is None


def test_one_that_lags_reads_for_itself_and_then_joins_the_others(feed, table):
    table.numbers = list(range(1, 8))
    feed.begin(5)
    feed.wanted = True
    table.slow = True
    intake = begun(feed, 2)
    assert intake.next() is None and intake.next() is None
    assert len(table.waiting) == 1  # one question at a time
    table.waiting[0].callback(None)
    assert intake.pumped == [True]
    table.slow = False
    read(feed)
    assert walk(intake) == [3, 4, 5, 6, 7]


def test_a_read_that_fails_is_asked_again(feed, table):
    table.numbers = [1, 2]
    feed.begin(2)
    table.slow = True
    intake = begun(feed, 0)
    said = []
    intake.log_error = said.append
    intake.next()
    table.waiting.pop().errback(OSError("gone"))
    assert "gone" in said[0]
    table.slow = False
    intake.next()
    assert walk(intake) == [1, 2]


def test_numbers_that_nobody_has_any_more_hold_nobody_up(feed, table):
    """Pruned changes, or numbers that a recovered database passed over: overdue timers must not wait for them."""
    feed.begin(100)
    intake = begun(feed, 40)
    intake.next()
    assert intake.offered == 100 == intake.caught_up_to
    assert intake.pumped == [True]
    table.numbers = [101]
    feed.wanted = True
    read(feed)
    assert walk(intake) == [101] and intake.progress() == (40, 101)


def test_after_stopping_the_next_instance_goes_on_where_the_last_one_stood(feed, table):
    feed.begin(0)
    feed.wanted = True
    table.numbers = [1, 2]
    read(feed)
    intake = begun(feed, 0)
    intake.offered = intake.next()[0].number
    intake.stop()
    assert intake.next() is None
    intake.consume(lambda item: True)
    assert walk(intake) == [2]
