"""Run it with pytest in this folder: the harness has the master, the database and the time."""

from collections.abc import Mapping, Sequence

from locum.schedulers.testing import SchedulerHarness
from merge_requests import MergeRequestLabels

LABELS = {"gpu": ["gpu-tests"], "release": ["package", "notify"]}


def labelled(labels: Mapping[str, Sequence[str]] = LABELS) -> MergeRequestLabels:
    return MergeRequestLabels("labelled", labels)


def event(harness: SchedulerHarness, revision: str, *labels: str, closed: bool = False, number: int = 7) -> None:
    properties = {"merge_request": number, "labels": list(labels), "closed": closed}
    harness.change(who="ann", branch="fix", revision=revision, properties=properties)


def built(harness: SchedulerHarness) -> list[tuple[str | None, str]]:
    return [(one.revision, one.properties["label"]) for one in harness.buildsets]


def test_each_label_is_built_once_for_each_revision() -> None:
    with SchedulerHarness(labelled) as harness:
        harness.change(branch="main")
        event(harness, "r1", "easy")
        assert built(harness) == []
        event(harness, "r1", "easy", "gpu")
        event(harness, "r1", "gpu")
        event(harness, "r1", "gpu", "release")
        assert built(harness) == [("r1", "gpu"), ("r1", "release")]
        assert harness.buildsets[1].builders == ("package", "notify")
        event(harness, "r1", "gpu", number=8)
        assert len(built(harness)) == 3


def test_labels_may_be_a_text_with_commas() -> None:
    with SchedulerHarness(labelled) as harness:
        harness.change(revision="r1", properties={"merge_request": "7", "labels": "gpus,release"})
        assert built(harness) == [("r1", "release")]


def test_what_is_not_wanted_any_more_is_cancelled() -> None:
    with SchedulerHarness(labelled) as harness:
        event(harness, "r1", "gpu", "release")
        event(harness, "r1", "gpu")
        assert [one.result for one in harness.buildsets] == [None, "cancelled"]
        event(harness, "r2", "gpu")
        assert [one.result for one in harness.buildsets] == ["cancelled", "cancelled", None]
        event(harness, "r2", "gpu", closed=True)
        assert harness.buildsets[2].result == "cancelled" and harness.state["open"] == {}


def test_a_build_that_has_ended_keeps_its_result() -> None:
    with SchedulerHarness(labelled) as harness:
        event(harness, "r1", "gpu")
        harness.finish(harness.buildsets[0])
        event(harness, "r2", "gpu")
        assert [one.result for one in harness.buildsets] == ["success", None]


def test_a_takeover_between_two_events() -> None:
    with SchedulerHarness(labelled) as harness:
        event(harness, "r1", "gpu")
        harness.kill()
        event(harness, "r1", "gpu")
        event(harness, "r1", "gpu", "release")
        harness.take_over()
        assert built(harness) == [("r1", "gpu"), ("r1", "release")]


def test_a_failed_commit_builds_and_cancels_once() -> None:
    for fate in ("fail_next_commit", "lose_next_answer"):
        with SchedulerHarness(labelled) as harness:
            for revision in ("r1", "r2"):
                getattr(harness, fate)()
                event(harness, revision, "gpu")
            assert built(harness) == [("r1", "gpu"), ("r2", "gpu")]
            assert [one.result for one in harness.buildsets] == ["cancelled", None]


def test_a_reconfiguration_builds_a_new_label_at_the_next_event() -> None:
    with SchedulerHarness(lambda: labelled({"gpu": ["gpu-tests"]}), builders=["gpu-tests", "package"]) as harness:
        event(harness, "r1", "gpu", "release")
        harness.reconfigure(lambda: labelled({"gpu": ["gpu-tests"], "release": ["package"]}))
        event(harness, "r1", "gpu", "release")
        assert built(harness) == [("r1", "gpu"), ("r1", "release")]
