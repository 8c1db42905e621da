"""Run it with pytest in this folder: the harness has the master, the database and the time."""

from collections.abc import Mapping, Sequence

import pytest
from chain import Chain
from locum.schedulers.testing import CannotBeMade, SchedulerHarness

NEEDS = {"package": ["unit", "lint"], "unit": ["compile"], "lint": ["compile"], "docs": ["compile"]}
BUILDERS = ["compile", "unit", "lint", "docs", "package"]


def release(needs: Mapping[str, Sequence[str]] = NEEDS) -> Chain:
    return Chain("release", ["package"], needs=needs)


def chain() -> SchedulerHarness:
    return SchedulerHarness(release, builders=BUILDERS)


def running(harness: SchedulerHarness) -> list[str]:
    return sorted(one.builders[0] for one in harness.buildsets if not one.complete)


def end(harness: SchedulerHarness, builder: str, result: str = "success") -> None:
    (found,) = (one for one in harness.buildsets if one.builders == (builder,) and not one.complete)
    harness.finish(found, result)


def test_what_is_needed_runs_first_and_side_by_side_and_nothing_else_runs() -> None:
    with chain() as harness:
        harness.change(revision="r1")
        assert running(harness) == ["compile"]
        end(harness, "compile")
        assert running(harness) == ["lint", "unit"]
        end(harness, "unit", "warnings")
        assert running(harness) == ["lint"]
        end(harness, "lint")
        assert running(harness) == ["package"]
        end(harness, "package")
        assert running(harness) == [] and harness.state["runs"] == {}
        assert {(one.changes, one.revision) for one in harness.buildsets} == {((1,), "r1")}


def test_what_needs_something_that_failed_is_not_begun() -> None:
    with chain() as harness:
        harness.change()
        end(harness, "compile")
        end(harness, "lint", "failure")
        end(harness, "unit")
        assert running(harness) == [] and harness.state["runs"] == {}


def test_each_change_has_a_run_of_its_own() -> None:
    with chain() as harness:
        harness.change()
        end(harness, "compile")
        harness.change()
        assert running(harness) == ["compile", "lint", "unit"]


def test_a_takeover_in_the_middle_of_a_run() -> None:
    with chain() as harness:
        harness.change()
        harness.kill()
        end(harness, "compile")
        harness.take_over()
        assert running(harness) == ["lint", "unit"]
        end(harness, "lint")
        harness.fail_over()
        end(harness, "unit")
        assert running(harness) == ["package"]


def test_a_failed_commit_starts_each_once() -> None:
    for fate in ("fail_next_commit", "lose_next_answer"):
        with chain() as harness:
            getattr(harness, fate)()
            harness.change()
            for builder in ("compile", "unit", "lint", "package"):
                getattr(harness, fate)()
                end(harness, builder)
            assert sorted(one.builders[0] for one in harness.buildsets) == ["compile", "lint", "package", "unit"]


def test_a_reconfiguration_in_the_middle_of_a_run_starts_what_is_needed_now() -> None:
    with chain() as harness:
        harness.change()
        end(harness, "compile")
        harness.reconfigure(lambda: release({**NEEDS, "package": ["unit", "docs"]}))
        assert running(harness) == ["docs", "lint", "unit"]
        for builder in ("docs", "unit", "lint"):
            end(harness, builder)
        assert running(harness) == ["package"]


def test_a_build_that_ended_while_it_was_disabled_counts() -> None:
    with chain() as harness:
        harness.change()
        harness.disable()
        end(harness, "compile")
        harness.enable()
        assert running(harness) == ["lint", "unit"]


def test_needs_that_cannot_be_met_are_told() -> None:
    with pytest.raises(CannotBeMade, match=r"needs: these need one another: [ab] -> [ab] -> [ab]"):
        SchedulerHarness(lambda: release({"a": ["b"], "b": ["a"]}))
    with pytest.raises(CannotBeMade, match="'release', needs: there is no builder 'unti'"):
        SchedulerHarness(lambda: release({"package": ["unti"]}), builders=BUILDERS)


def test_it_cannot_be_forced() -> None:
    with chain() as harness:
        assert "requests no work" in str(harness.force().error)
