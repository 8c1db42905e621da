"""Simulated clusters keep their promises; and the simulation sees it when they do not."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from locum.tests.simulation.breakages import BREAKAGES
from locum.tests.simulation.hunt import one, play
from locum.tests.simulation.plan import Plan, draw
from locum.tests.simulation.shrink import shrunk, told
from locum.tests.simulation.story import simulate

SEEDS = [int(os.environ["LOCUM_SIM_SEED"])] if "LOCUM_SIM_SEED" in os.environ else list(range(12))
SHORTER = float(os.environ.get("LOCUM_SIM_SHORTER", "4"))
FOUND = sorted(Path(__file__).with_name("found").glob("*.json"))
"""Plans that once broke a promise, cut down to what was needed for it."""


@pytest.mark.parametrize("seed", SEEDS)
def test_every_promise_is_kept_whatever_goes_wrong(seed):
    report = one(seed, None, SHORTER)
    assert not report.violation, (
        f"\n{report}\nagain: LOCUM_SIM_SEED={seed}, or hunt --seeds {seed} --shorter {SHORTER:g}"
    )


@pytest.mark.parametrize("file", FOUND, ids=lambda file: file.stem)
def test_what_was_found_once_is_mended(file):
    report = play(Plan.read(file))
    assert report.faults, "nothing of the plan happens any more"
    assert not report.violation, f"\n{report}"


def test_weeks_of_calendar_pass_in_seconds():
    report = simulate(draw(11, "long"))
    assert not report.violation, f"\n{report}"
    assert report.skipped_s > 20 * report.lived_s


def test_twenty_masters_share_hundreds_of_schedulers():
    plan = replace(draw(0, "wide"), masters=20, copies=24, lasts_s=5.0)
    report = simulate(plan)
    assert not report.violation, f"\n{report}"
    assert len(plan.specs) > 200
    assert report.commits > 100


def test_a_seed_tells_the_same_story_every_time():
    here = [one(7, "tasks", 12).digest for _ in range(2)]
    script = "from locum.tests.simulation.hunt import one; print(one(7, 'tasks', 12).digest)"
    environ = {**os.environ, "PYTHONHASHSEED": "12345"}
    there = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True, timeout=900
    ).stdout
    assert here == [there.strip()] * 2


@pytest.mark.parametrize("shape", ["dense", "tasks", "wide", "long"])
def test_the_short_cut_to_the_driver_changes_nothing(shape):
    plan = draw(3, shape)
    plan = replace(plan, lasts_s=plan.lasts_s / 16, copies=min(plan.copies, 4))
    assert simulate(plan, fast=False).digest == simulate(plan, fast=True).digest


def test_what_went_wrong_by_dice_goes_wrong_again_by_the_list():
    by_dice = one(2, "tasks", 8)
    by_list = play(replace(by_dice.plan, faults=by_dice.faults))
    assert by_dice.faults
    assert (by_list.digest, by_list.faults) == (by_dice.digest, by_dice.faults)


def test_a_plan_comes_back_from_its_file():
    plan = replace(draw(5), faults=("m1#1 beat 3: lost",), schedulers=("now-main",))
    assert Plan.from_json(plan.to_json()) == plan


# -- with a promise broken on purpose ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, breakage in BREAKAGES.items() if not breakage.slow])
def test_the_simulation_sees(name):
    for seed in range(12):
        report = one(seed, None, 3.0, name)
        if report.violation:
            print(f"seed {seed} after {report.steps} steps: {report.violation}")
            assert report.violation.startswith(BREAKAGES[name].promise), f"\n{report}"
            return
    pytest.fail("twelve stories went by, and nobody noticed")


def test_a_failing_plan_is_cut_down_to_what_is_needed():
    report = one(0, None, 8.0, "disabling without a new term")
    small = shrunk(report, play, within_s=10.0)
    assert small.violation.startswith("P1: ")
    deeds = [op.deed for op in small.plan.ops]
    assert deeds == ["disable"]
    assert (small.plan.faults, len(small.plan.specs)) == ((), 1)
    assert "disable" in told(small)
    assert play(Plan.from_json(small.plan.to_json())).violation == small.violation
