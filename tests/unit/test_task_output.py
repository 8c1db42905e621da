"""A step's output on its way: in order, bounded, whole letters, no secrets."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from locum.master.tasks.output import FLUSH_S, HOLD_MOST, PIECE, Output
from twisted.internet.task import Clock


class Sink:
    """Takes the pieces of an output."""

    def __init__(self, limit=10**9, secrets=()):
        self.clock = Clock()
        self.pieces, self.done, self.drained = [], [], 0
        self.output = Output(self.clock, self.put, limit, secrets, self.has_drained)

    def put(self, text, sequence, done):
        assert sequence == len(self.pieces)
        self.pieces.append(text)
        self.done.append(done)

    def has_drained(self):
        self.drained += 1

    @property
    def text(self):
        return "".join(self.pieces)


def test_a_little_waits_for_more_and_much_does_not_wait():
    sink = Sink()
    sink.output.write(b"a")
    sink.clock.advance(FLUSH_S - 0.1)
    sink.output.write(b"b")
    assert sink.pieces == []
    sink.clock.advance(0.1)
    assert sink.pieces == ["ab"]
    sink.output.write(b"x" * (PIECE + 5))
    assert [len(p) for p in sink.pieces] == [2, PIECE, 5]
    sink.output.close()
    assert sink.clock.getDelayedCalls() == []


@given(st.binary(max_size=300), st.lists(st.integers(0, 300)))
def test_pieces_of_any_size_give_the_same_text(data, cuts):
    whole, cut = Sink(secrets=["sesame"]), Sink(secrets=["sesame"])
    whole.output.write(data)
    places = [0, *sorted(c for c in cuts if c < len(data)), len(data)]
    for start, stop in itertools.pairwise(places):
        cut.output.write(data[start:stop])
    whole.output.close()
    cut.output.close()
    assert whole.text == cut.text == data.decode("utf-8", "replace").replace("\0", "\ufffd")


@given(st.text("abs*", max_size=10), st.text("abs*", max_size=10), st.integers(1, 5))
def test_a_secret_is_hidden_however_it_is_cut(before, after, size):
    sink = Sink(secrets=["abab", "s3cr"])
    data = (before + "abab" + after).encode()
    for start in range(0, len(data), size):
        sink.output.write(data[start : start + size])
    sink.output.close()
    assert "abab" not in sink.text
    assert "***" in sink.text


def test_what_comes_when_exactly_all_is_used_up_is_dropped_with_the_same_line():
    """Pipes are read in pieces of which the limit is a multiple: a long output just ended."""
    sink = Sink(limit=10)
    sink.output.write(b"0123456789")
    sink.output.write(b"more")
    sink.output.write(b"and more")
    sink.output.close()
    assert sink.text == "0123456789\n... output beyond 10 bytes dropped\n"


def test_what_is_beyond_the_limit_is_dropped_with_one_line():
    sink = Sink(limit=10)
    for _ in range(5):
        sink.output.write("äääää".encode()[:7])
    sink.output.line("and a word of ours")
    sink.output.close()
    assert sink.text.count("output beyond 10 bytes dropped") == 1
    assert sink.text.startswith("ää")
    assert len(sink.text.encode()) < 70


def test_it_is_full_while_too_much_is_not_written_and_tells_when_there_is_room():
    sink = Sink()
    sink.output.write(b"x" * (HOLD_MOST - 1))
    assert not sink.output.full
    sink.output.write(b"xx")
    assert sink.output.full
    for done in sink.done:
        done()
    assert not sink.output.full
    assert sink.drained == 1


def test_our_own_lines_begin_on_a_line_of_their_own():
    sink = Sink()
    sink.output.write(b"no end")
    sink.output.line("ours")
    sink.output.line("again")
    sink.output.close()
    assert sink.text == "no end\nours\nagain\n"
