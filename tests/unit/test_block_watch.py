"""Who is blamed for a reactor that does not answer: the scheduler whose code runs, and nobody if the machine is to blame."""

from __future__ import annotations

import threading
import time

import pytest
from locum.master import watchman

LIMIT_S = 0.2


class Code:
    """A scheduler named ``culprit`` runs, and never ends; ``overran`` is what has run and ended."""

    long_s = LIMIT_S

    def __init__(self):
        self.looks = threading.Semaphore(0)
        self.runs = "culprit"
        self.overran = None

    @property
    def running(self):
        return self.runs

    def take_overran(self):
        self.looks.release()
        found, self.overran = self.overran, None
        return found

    def looked(self):
        """Wait until the watch has looked several times more."""
        for _ in range(8):  # two limits
            assert self.looks.acquire(timeout=20)


@pytest.fixture
def watch():
    """``watch()``: (blamed, code), while the reactor never answers. ``blamed`` gets (scheduler, seconds)."""
    started = []

    def begin(boottime=time.monotonic, call=lambda function, *args: None, on_block=None):
        blamed, code = [], Code()
        made = watchman.BlockWatch(call, boottime, code, on_block or (lambda who, late: blamed.append((who, late))))
        started.append(made)
        made.start()
        return blamed, code

    yield begin
    for made in started:
        made.stop()


def test_a_scheduler_that_blocks_the_reactor_is_blamed_once(watch, monkeypatch):
    monkeypatch.setattr(watchman, "_waited_s", lambda: {"1": 5.0, "2": 0.0})
    blamed, code = watch()
    code.looked()
    code.looked()
    assert [who for who, _ in blamed] == ["culprit"]
    assert blamed[0][1] >= LIMIT_S


def test_nobody_is_blamed_while_one_of_the_threads_is_kept_from_the_processor(watch, monkeypatch):
    began = time.monotonic()
    monkeypatch.setattr(watchman, "_waited_s", lambda: {"1": 5.0, "2": 0.95 * (time.monotonic() - began)})
    blamed, code = watch()
    code.looked()
    code.looked()
    assert blamed == []


def test_on_a_busy_machine_only_the_time_counts_in_which_it_could_have_run(watch, monkeypatch):
    began = time.monotonic()
    monkeypatch.setattr(watchman, "_waited_s", lambda: {"1": 5.0, "2": 0.7 * (time.monotonic() - began)})
    blamed, code = watch()
    while not blamed:
        code.looked()
    assert [who for who, _ in blamed] == ["culprit"]
    assert blamed[0][1] >= 3 * LIMIT_S


def test_computing_in_which_the_watch_stands_still_counts_and_being_frozen_does_not(watch, monkeypatch):
    computed, now = 0.0, 0.0

    def boottime():
        """Each look finds that three limits have passed."""
        nonlocal now
        now += 3 * LIMIT_S
        return now

    monkeypatch.setattr(watchman, "_processor_s", lambda: computed)
    monkeypatch.setattr(watchman, "_waited_s", dict)
    blamed, code = watch(boottime)
    code.looked()
    assert blamed == []
    computed = 2 * LIMIT_S
    code.looked()
    assert [who for who, _ in blamed] == ["culprit"]


def test_what_has_ended_before_the_watch_could_look_is_blamed_once(watch, monkeypatch):
    computed, now = 0.0, 0.0

    def boottime():
        nonlocal now
        now += 0.1 * LIMIT_S
        return now

    monkeypatch.setattr(watchman, "_processor_s", lambda: computed)
    monkeypatch.setattr(watchman, "_waited_s", dict)
    blamed, code = watch(boottime, call=lambda answer: answer())
    code.runs = None
    code.looked()
    assert blamed == []
    # It keeps the interpreter's lock for two limits, and lets go; the reactor answers before the watch runs again.
    now, computed = now + 2 * LIMIT_S, 2 * LIMIT_S
    code.overran = ("culprit", 2 * LIMIT_S)
    code.looked()
    assert blamed == [("culprit", 2 * LIMIT_S)]
    code.overran = ("innocent", 2 * LIMIT_S)  # it was kept from the processor
    code.looked()
    assert blamed == [("culprit", 2 * LIMIT_S)]


def test_one_blocking_is_told_once_even_if_the_word_could_not_be_passed_on(watch, monkeypatch):
    monkeypatch.setattr(watchman, "_waited_s", dict)
    monkeypatch.setattr(watchman, "RETRY_S", 0.0)
    told = []

    def on_block(who, late):
        told.append(who)
        raise OSError("the database is away")

    _, code = watch(on_block=on_block)
    while not told:
        code.looked()
    code.overran, code.runs = ("culprit", 5 * LIMIT_S), None
    code.looked()
    assert told == ["culprit"]


def test_the_kernel_tells_how_long_threads_have_waited():
    waited = watchman._waited_s()
    assert str(threading.get_native_id()) in waited
    assert all(seconds >= 0 for seconds in waited.values())
