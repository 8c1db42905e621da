"""Run it with pytest in this folder: the harness has the master, the database and the time."""

from batches import Batches
from locum.schedulers.testing import SchedulerHarness


def by_three(most: int = 3) -> Batches:
    return Batches("by-three", ["integration"], most=most, wait="15m", change_filter={"branch": "main"})


def changes(harness: SchedulerHarness, count: int) -> None:
    for _ in range(count):
        harness.change(branch="main")


def built(harness: SchedulerHarness) -> list[tuple[int, ...]]:
    return [one.changes for one in harness.buildsets]


def test_a_full_batch_is_built_at_once_and_the_rest_when_its_first_has_waited() -> None:
    with SchedulerHarness(by_three) as harness:
        harness.change(branch="other")
        changes(harness, 2)
        harness.advance("10m")
        assert built(harness) == []
        changes(harness, 2)
        assert built(harness) == [(2, 3, 4)]
        harness.advance("15m")
        assert built(harness) == [(2, 3, 4), (5,)] and harness.timers == {}


def test_no_timer_is_left_of_a_batch_that_filled() -> None:
    with SchedulerHarness(by_three) as harness:
        changes(harness, 3)
        assert harness.timers == {} and harness.pending == {}


def test_a_takeover_in_the_middle_of_a_batch() -> None:
    with SchedulerHarness(by_three) as harness:
        changes(harness, 2)
        harness.kill()
        changes(harness, 3)
        harness.take_over()
        assert built(harness) == [(1, 2, 3)]
        harness.fail_over()
        harness.advance("15m")
        assert built(harness) == [(1, 2, 3), (4, 5)]


def test_a_failed_commit_builds_once() -> None:
    for fate in ("fail_next_commit", "lose_next_answer"):
        with SchedulerHarness(by_three) as harness:
            changes(harness, 2)
            getattr(harness, fate)()
            changes(harness, 2)
            getattr(harness, fate)()
            harness.advance("15m")
            assert built(harness) == [(1, 2, 3), (4,)]


def test_a_reconfiguration_to_smaller_batches_builds_those_that_are_full_now() -> None:
    with SchedulerHarness(lambda: by_three(10)) as harness:
        changes(harness, 5)
        harness.reconfigure(lambda: by_three(2))
        assert built(harness) == [(1, 2), (3, 4)]
        harness.advance("15m")
        assert built(harness) == [(1, 2), (3, 4), (5,)]
