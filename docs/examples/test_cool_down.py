"""Run it with pytest in this folder: the harness has the master, the database and the time."""

from cool_down import CoolDown
from locum.schedulers.testing import SchedulerHarness


def rack(pause: str = "20m") -> CoolDown:
    return CoolDown("rack", ["devices"], pause=pause)


def built(harness: SchedulerHarness) -> list[tuple[int, ...]]:
    return [one.changes for one in harness.buildsets]


def test_changes_wait_for_the_end_of_the_build_and_of_the_pause() -> None:
    with SchedulerHarness(rack) as harness:
        harness.change()
        harness.change()
        assert built(harness) == [(1,)]
        harness.advance("1h")
        harness.finish(harness.buildsets[0], "failure")
        harness.change()
        harness.advance("19m")
        assert built(harness) == [(1,)]
        harness.advance("1m")
        assert built(harness) == [(1,), (2, 3)]


def test_a_pause_in_which_nothing_came_delays_nothing() -> None:
    with SchedulerHarness(rack) as harness:
        harness.change()
        harness.finish(harness.buildsets[0])
        harness.advance("20m")
        harness.change()
        assert built(harness) == [(1,), (2,)]


def test_a_takeover_in_the_pause() -> None:
    with SchedulerHarness(rack) as harness:
        harness.change()
        harness.finish(harness.buildsets[0])
        harness.advance("5m")
        harness.kill()
        harness.change()
        harness.advance("5m")
        harness.take_over()
        harness.advance("9m")
        assert built(harness) == [(1,)]
        harness.advance("1m")
        assert built(harness) == [(1,), (2,)]


def test_a_takeover_counts_the_pause_from_the_end_of_the_build() -> None:
    with SchedulerHarness(rack) as harness:
        harness.change()
        harness.kill()
        harness.finish(harness.buildsets[0])
        harness.advance("15m")
        harness.take_over()
        harness.change()
        harness.advance("5m")
        assert built(harness) == [(1,), (2,)]


def test_a_failed_commit_builds_once() -> None:
    for fate in ("fail_next_commit", "lose_next_answer"):
        with SchedulerHarness(rack) as harness:
            getattr(harness, fate)()
            harness.change()
            getattr(harness, fate)()
            harness.finish(harness.buildsets[0])
            harness.change()
            getattr(harness, fate)()
            harness.advance("20m")
            assert built(harness) == [(1,), (2,)]


def test_a_reconfiguration_in_the_pause_makes_it_shorter() -> None:
    with SchedulerHarness(rack) as harness:
        harness.change()
        harness.finish(harness.buildsets[0])
        harness.change()
        harness.advance("6m")
        harness.reconfigure(lambda: rack("10m"))
        harness.advance("4m")
        assert built(harness) == [(1,), (2,)]


def test_a_build_that_ended_while_it_was_disabled_is_not_waited_for() -> None:
    with SchedulerHarness(rack) as harness:
        harness.change()
        harness.disable()
        harness.finish(harness.buildsets[0])
        harness.enable()
        harness.change()
        harness.advance("20m")
        assert built(harness) == [(1,), (2,)]


def test_what_a_person_forces_is_not_waited_for() -> None:
    with SchedulerHarness(rack) as harness:
        harness.force()
        harness.change()
        harness.finish(harness.buildsets[0])
        assert built(harness) == [(), (1,)] and harness.timers == {}
