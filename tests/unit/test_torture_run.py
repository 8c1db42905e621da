"""What a run of the torture chamber is made of: its histories come back as they were written, and masters take its files."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import yaml
from locum import config
from locum.tests.torture import configuration, report
from locum.tests.torture.checker_story import right
from locum.tests.torture.failpoints import POINTS
from locum.tests.torture.history import (
    ChangeAnswered,
    ChangeAsked,
    Events,
    FaultBegan,
    FaultEnded,
    History,
    Plan,
    Planned,
    Seen,
    read,
)


def test_events_are_read_as_they_were_written(tmp_path):
    events = [
        ChangeAsked(1.5, "ann-1", "ann", {"branch": "a\u2028b\nc", "files": ["x"]}),
        ChangeAnswered(2.0, "ann-1", "unknown", None),
        Seen(3.0, 3.5, {"s": {"term": 7, "state": {"count": 1}}}),
        FaultBegan(4.0, 1, "kill", "m1", {"seconds": 0.5}),
        FaultEnded(5.0, 1, "kill", "m1", {}),
    ]
    history = History(tmp_path / "truth.jsonl")
    for event in events:
        history.add(event)
    assert read(tmp_path / "truth.jsonl") == Events(tuple(events))  # each is there before the file is closed
    history.close()
    assert read(tmp_path / "nothing.jsonl") == Events(())


def test_a_plan_is_read_as_it_was_written(tmp_path):
    plan = Plan(7, 1.5, "sqlite", (Planned(4.0, "kill", "m1", {"seconds": 2.0}),), 3, ("kill",), {"x": "why"}, 0.5)
    plan.write(tmp_path / "plan.json")
    assert Plan.read(tmp_path / "plan.json") == plan


@pytest.mark.parametrize("variant", range(8))
def test_masters_take_each_variant_of_the_configuration(tmp_path, variant):
    path = tmp_path / "m1.yaml"
    path.write_text(yaml.safe_dump(configuration.sections("sqlite:///x.sqlite", tmp_path / "lines", variant)))
    found = config.load(path, {})
    assert {entry.name for entry in found.schedulers} == set(configuration.entries(variant))
    assert len(found.schedulers) > 50


def test_variants_differ_in_what_may_vary_and_in_nothing_else():
    first, second = configuration.entries(0), configuration.entries(1)
    differing = {name for name in first.keys() | second.keys() if first.get(name) != second.get(name)}
    assert differing
    assert all(name.startswith("var-") for name in differing)


@pytest.mark.parametrize("percent, wanted", [(50, 2.0), (99, 4.0), (100, 4.0)])
def test_percentiles_are_of_what_was_measured(percent, wanted):
    assert report._percentile([4.0, 1.0, 3.0, 2.0], percent) == wanted


def test_which_fail_points_were_struck_is_told():
    def fault(number, point, what, struck):
        args = {"point": point, "what": what}
        return FaultBegan(number, number, "fail-point", "m1", args), FaultEnded(
            number, number, "fail-point", "m1", {"struck": struck}
        )

    others = [fault(9 + n, point.name, "kill", True) for n, point in enumerate(POINTS[3:])]
    aimed = [
        fault(1, POINTS[0].name, "kill", True),
        fault(2, POINTS[0].name, "freeze", True),
        fault(3, POINTS[1].name, "kill", False),
        fault(4, POINTS[2].name, "freeze", True),
        *others,
    ]
    faults = Events(tuple(itertools.chain(*aimed)))
    (line,) = report._fail_points(dataclasses.replace(right(), faults=faults))
    assert line == (
        f"fail points: {len(POINTS) - 1} of {len(POINTS)} struck (kill at {len(POINTS) - 2}, freeze at 2),"
        f" {len(POINTS) + 1} times aimed at; not struck: {POINTS[1].name}"
    )
    assert report._fail_points(right()) == []
