"""What is new is read once for all, in order, and kept for a while."""

from dataclasses import dataclass

import pytest
from locum.master import feed as feeds
from locum.master.feed import Feed
from twisted.internet.defer import Deferred, maybeDeferred


@dataclass(frozen=True)
class Item:
    number: int
    fault: str = ""


class Table:
    """Rows in commit order, read as the database would be."""

    def __init__(self):
        self.numbers = []
        self.reads = 0

    def after(self, number, most):
        self.reads += 1
        return [n for n in self.numbers if n > number][:most]

    def single(self, function, *args):
        return maybeDeferred(function, *args)


@pytest.fixture
def table():
    return Table()


@pytest.fixture
def news():
    return []


@pytest.fixture
def feed(table, news):
    made = Feed(table, table.after, Item, lambda: news.append(made.newest))
    return made


def read(feed):
    done = Deferred.fromCoroutine(feed.read())
    assert done.called
    return done


def test_nothing_is_read_before_it_begins_or_while_nobody_wants_it(feed, table):
    table.numbers = [1, 2]
    read(feed)
    feed.begin(0)
    read(feed)
    assert table.reads == 0
    feed.wanted = True
    read(feed)
    assert feed.newest == 2


def test_it_begins_once(feed):
    feed.begin(5)
    feed.begin(9)
    assert feed.newest == 5 and feed.reaches(5) and not feed.reaches(4)


def test_new_items_are_read_once_in_order_and_told(feed, table, news):
    feed.begin(0)
    feed.wanted = True
    table.numbers = [1, 2]
    read(feed)
    table.numbers += [3, 7]
    read(feed)
    read(feed)
    assert news == [2, 7]
    walk, at = [], 0
    while item := feed.after(at):
        at = item.number
        walk.append(at)
    assert walk == [1, 2, 3, 7]
    assert feed.after(2) == Item(3) and feed.after(5) == Item(7) and feed.after(7) is None


def test_many_are_read_in_pieces_until_there_are_no_more(feed, table, monkeypatch):
    monkeypatch.setattr(feeds, "READ_AT_ONCE", 10)
    feed.begin(0)
    feed.wanted = True
    table.numbers = list(range(1, 36))
    read(feed)
    assert feed.newest == 35 and table.reads == 4


def test_old_items_are_let_go_and_who_lags_reads_for_himself(feed, table, monkeypatch):
    monkeypatch.setattr(feeds, "READ_AT_ONCE", 10)
    monkeypatch.setattr(feeds, "KEEP", 20)
    feed.begin(0)
    feed.wanted = True
    table.numbers = list(range(1, 101))
    read(feed)
    assert not feed.reaches(0) and feed.reaches(99)
    floor = next(n for n in range(101) if feed.reaches(n))
    assert floor >= 70 and feed.after(floor) == Item(floor + 1)
    lagging = Deferred.fromCoroutine(feed.read_from(3))
    assert [item.number for item in lagging.result] == list(range(4, 14))


def test_items_are_found_by_number_or_not_at_all(feed, table):
    feed.begin(0)
    feed.wanted = True
    table.numbers = [2, 4, 6]
    read(feed)
    assert feed.find([4, 2]) == [Item(4), Item(2)]
    assert feed.find([]) == []
    for missing in ([1], [2, 3], [7]):
        assert feed.find(missing) is None
