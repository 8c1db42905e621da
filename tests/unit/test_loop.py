"""The one repeated step: never two at once, never ended by an error, stopped at any moment."""

import pytest
from locum.master.loop import Loop
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock


class Steps:
    """Counts its steps; ``wait`` makes them last until they are let go."""

    def __init__(self):
        self.begun = 0
        self.wait = False
        self.open = []
        self.error = None

    async def __call__(self):
        self.begun += 1
        if self.error:
            raise self.error
        if self.wait:
            self.open.append(Deferred())
            await self.open[-1]

    def let_go(self):
        self.open.pop(0).callback(None)


@pytest.fixture
def clock():
    return Clock()


def made(clock, steps, **options):
    return Loop(clock, steps, 10, "a test", **options)


def test_it_steps_at_once_and_then_every_interval(clock):
    steps = Steps()
    loop = made(clock, steps)
    loop.start()
    clock.advance(0)
    assert steps.begun == 1
    clock.pump([9, 1, 9, 1])
    assert steps.begun == 3
    loop.stop()
    clock.advance(100)
    assert steps.begun == 3 and not clock.getDelayedCalls()


def test_the_first_step_may_come_later_and_starting_twice_is_starting_once(clock):
    steps = Steps()
    loop = made(clock, steps, first_s=4)
    loop.start()
    loop.start()
    clock.advance(3.9)
    assert steps.begun == 0
    clock.advance(0.2)
    assert steps.begun == 1
    loop.stop()


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1), KeyError()])
def test_a_step_that_fails_does_not_end_it(clock, error):
    steps = Steps()
    steps.error = error
    loop = made(clock, steps)
    loop.start()
    clock.advance(0)
    clock.advance(10)
    assert steps.begun == 2
    loop.stop()


def test_soon_means_now_or_right_after_the_step_that_runs_and_once(clock):
    steps = Steps()
    loop = made(clock, steps)
    loop.start()
    clock.advance(0)
    loop.soon()
    loop.soon()
    clock.advance(0)
    assert steps.begun == 2
    steps.wait = True
    loop.soon()
    clock.advance(0)
    loop.soon()
    loop.soon()
    clock.advance(50)
    assert steps.begun == 3  # never two at once
    steps.let_go()
    clock.advance(0)
    assert steps.begun == 4
    steps.let_go()
    clock.advance(0)
    assert steps.begun == 4
    loop.stop()


def test_stopping_waits_for_the_step_that_runs(clock):
    steps = Steps()
    steps.wait = True
    loop = made(clock, steps)
    loop.start()
    clock.advance(0)
    stopped = [loop.stop(), loop.stop()]
    assert not stopped[0].called
    steps.let_go()
    assert all(s.called for s in stopped) and not clock.getDelayedCalls()


def test_it_may_be_stopped_before_it_was_started_and_started_again(clock):
    steps = Steps()
    loop = made(clock, steps)
    assert loop.stop().called
    loop.soon()
    clock.advance(20)
    assert steps.begun == 0
    loop.start()
    clock.advance(0)
    assert loop.stop().called
    loop.start()
    clock.advance(0)
    assert steps.begun == 2
    loop.stop()


def test_started_again_while_its_last_step_still_runs_it_goes_on_after_it(clock):
    steps = Steps()
    steps.wait = True
    loop = made(clock, steps)
    loop.start()
    clock.advance(0)
    stopped = loop.stop()
    loop.start()
    clock.advance(30)
    assert steps.begun == 1
    steps.let_go()
    assert stopped.called
    clock.advance(10)
    assert steps.begun == 2
    loop.stop()


def test_another_interval_counts_from_the_next_step_on(clock):
    steps = Steps()
    loop = made(clock, steps)
    loop.start()
    clock.advance(0)
    loop.interval_s = 1
    clock.advance(10)
    clock.pump([1, 1])
    assert steps.begun == 4
    loop.stop()
