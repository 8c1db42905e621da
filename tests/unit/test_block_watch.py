"""Who is blamed for a reactor that does not answer: the scheduler whose code runs, and nobody if the machine is to blame."""

from __future__ import annotations

import threading
import time

import pytest
from locum.master import watchman

LIMIT_S = 0.2


@pytest.fixture
def watch():
    """``watch()``: (blamed, looked), while a scheduler named ``culprit`` runs and the reactor never answers.

    ``blamed`` holds (scheduler, seconds); ``looked()`` waits until the watch has looked several times more.
    """
    started = []

    def begin(boottime=time.monotonic):
        blamed, looks = [], threading.Semaphore(0)

        def running():
            looks.release()
            return "culprit"

        made = watchman.BlockWatch(
            lambda function, *args: None, boottime, running, lambda who, late: blamed.append((who, late)), LIMIT_S
        )
        started.append(made)
        made.start()

        def looked():
            for _ in range(8):  # two limits
                assert looks.acquire(timeout=20)

        return blamed, looked

    yield begin
    for made in started:
        made.stop()


def test_a_scheduler_that_blocks_the_reactor_is_blamed_once(watch, monkeypatch):
    monkeypatch.setattr(watchman, "_waited_s", lambda: {"1": 5.0, "2": 0.0})
    blamed, looked = watch()
    looked()
    looked()
    assert [who for who, _ in blamed] == ["culprit"]
    assert blamed[0][1] >= LIMIT_S


def test_nobody_is_blamed_while_one_of_the_threads_is_kept_from_the_processor(watch, monkeypatch):
    began = time.monotonic()
    monkeypatch.setattr(watchman, "_waited_s", lambda: {"1": 5.0, "2": 0.95 * (time.monotonic() - began)})
    blamed, looked = watch()
    looked()
    looked()
    assert blamed == []


def test_on_a_busy_machine_only_the_time_counts_in_which_it_could_have_run(watch, monkeypatch):
    began = time.monotonic()
    monkeypatch.setattr(watchman, "_waited_s", lambda: {"1": 5.0, "2": 0.7 * (time.monotonic() - began)})
    blamed, looked = watch()
    while not blamed:
        looked()
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
    blamed, looked = watch(boottime)
    looked()
    assert blamed == []
    computed = 2 * LIMIT_S
    looked()
    assert [who for who, _ in blamed] == ["culprit"]


def test_the_kernel_tells_how_long_threads_have_waited():
    waited = watchman._waited_s()
    assert str(threading.get_native_id()) in waited
    assert all(seconds >= 0 for seconds in waited.values())
