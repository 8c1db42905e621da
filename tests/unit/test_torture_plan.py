"""The nemesis' plan: the same from the same seed, all kinds dealt, nothing touched twice at once, and what is left out is said."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import pytest
from locum.tests.torture import nemesis
from locum.tests.torture.failpoints import POINTS
from locum.tests.torture.faults import Kind
from locum.tests.torture.history import Plan, Planned
from locum.tests.torture.invariants_timing import BOUNDS_S, LATE_S, RECOVERY_S

MASTERS = ("m1", "m2", "m3")
LEASE_S = 3.0
KINDS = {database: nemesis.kinds_of(database) for database in ("sqlite", "postgresql")}


def faults(seed: int, minutes: float = 10, database: str = "postgresql") -> tuple[Planned, ...]:
    return nemesis.faults_of(seed, minutes, KINDS[database], MASTERS, LEASE_S)


def end(planned: Planned) -> float:
    return planned.at_s + float(planned.args["seconds"])


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_seed_is_a_plan(database: str) -> None:
    assert faults(1, database=database) == faults(1, database=database)
    assert faults(1, database=database) != faults(2, database=database)


def test_the_order_in_which_kinds_are_named_changes_nothing() -> None:
    backwards = nemesis.faults_of(5, 10, KINDS["sqlite"][::-1], MASTERS, LEASE_S)
    assert backwards == faults(5, database="sqlite")


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_half_an_hour_deals_every_kind_several_times(database: str) -> None:
    dealt = [planned.fault for planned in faults(3, 30, database)]
    assert set(dealt) == set(KINDS[database])
    assert all(dealt.count(name) >= 2 for name in KINDS[database]), dealt


@pytest.mark.parametrize("seed", range(20))
def test_storms_end_in_calm_and_all_fits_into_the_time(seed: int) -> None:
    planned = faults(seed, 5)
    assert planned[0].at_s == nemesis.FIRST_S and max(map(end, planned)) <= 5 * 60 - nemesis.LAST_S
    over = 0.0
    for one in planned:
        assert one.at_s < over or one.at_s - over >= nemesis.CALM_S[0] - 0.01 or not over
        over = max(over, end(one))


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
@pytest.mark.parametrize("seed", range(5))
def test_now_and_then_a_fault_with_a_bound_comes_alone_when_all_has_recovered(seed: int, database: str) -> None:
    planned = faults(seed, 5, database)
    judged = []
    for one in planned:
        others = [other for other in planned if other is not one]
        bound = BOUNDS_S.get(one.fault, 0.0)
        if bound and not any(o.at_s <= one.at_s + bound and one.at_s <= end(o) + RECOVERY_S for o in others):
            judged.append(one)
    assert len(judged) >= 2, planned
    quiet = max(b.at_s - max(end(a) for a in planned[:n]) for n, b in enumerate(planned) if n)
    assert quiet >= RECOVERY_S + LATE_S, "due times can be judged, too"


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_planned_for_the_same_thing_at_the_same_time(seed: int) -> None:
    planned = faults(seed, 10)
    assert any(b.at_s < end(a) for a, b in itertools.pairwise(planned)), "some are mixed"
    for i, a in enumerate(planned):
        for b in planned[i + 1 :]:
            shared = _resources(a) & _resources(b)
            assert not shared or b.at_s >= end(a), f"{a} and {b} touch {shared}"


def _resources(planned: Planned) -> frozenset[str]:
    kind: Kind = nemesis.KINDS[planned.fault]
    return kind.resources(planned.target, MASTERS)


def test_one_kind_alone_is_a_plan_even_of_a_short_time() -> None:
    for name in nemesis.KINDS:
        planned = nemesis.faults_of(1, 0.2, [name], MASTERS, LEASE_S)
        assert {one.fault for one in planned} == {name}


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_twenty_minutes_of_fail_points_alone_aim_at_each_of_them(database: str) -> None:
    planned = nemesis.new_plan(1, 20, database, ["fail-point*"], len(MASTERS))
    assert {one.args["point"] for one in planned.faults} == {point.name for point in POINTS}


def test_a_plan_survives_its_file(tmp_path: Path) -> None:
    plan = dataclasses.replace(nemesis.new_plan(7, 3, "sqlite", (), 3), left_out={"x": "no tool"})
    plan.write(tmp_path / "plan.json")
    assert Plan.read(tmp_path / "plan.json") == plan
    json.loads((tmp_path / "plan.json").read_text())


def test_kinds_are_chosen_by_name_and_pattern_and_unknown_ones_refused() -> None:
    plan = nemesis.new_plan(7, 3, "postgresql", ("net-*", "kill"), 3)
    assert {one.fault.split("-")[0] for one in plan.faults} == {"net", "kill"}
    with pytest.raises(ValueError, match="sqlite-busy: no such fault on postgresql"):
        nemesis.new_plan(7, 3, "postgresql", ("sqlite-busy",), 3)


def test_what_the_machine_lacks_a_tool_for_is_left_out_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nemesis, "lacking", lambda: {"libfaketime": "it is not there"})
    plan = nemesis.new_plan(7, 30, "postgresql", (), 3)
    assert plan.left_out == {"clock-step": "it is not there", "clock-drift": "it is not there"}
    dealt = {one.fault for one in plan.faults}
    assert dealt == set(KINDS["postgresql"]) - set(plan.left_out)
