"""Simulated clusters keep their promises; and the checker sees it when they do not."""

from __future__ import annotations

import os
import subprocess
import sys
from unittest import mock

import pytest
from locum.db import holding, orders, turns
from locum.db.sql import Statement
from locum.master import activation, committer
from locum.tests.simulation.story import simulate

STEPS = 2500
SEEDS = [int(os.environ["LOCUM_SIM_SEED"])] if "LOCUM_SIM_SEED" in os.environ else list(range(16))
FOUND = (1081, 1085)
"""Seeds that once found something."""


@pytest.mark.parametrize("seed", [*SEEDS, *(FOUND if len(SEEDS) > 1 else ())])
def test_every_promise_is_kept_whatever_goes_wrong(seed):
    report = simulate(seed, int(os.environ.get("LOCUM_SIM_STEPS", STEPS)))
    assert not report.violation, f"\n{report}"


def test_a_seed_tells_the_same_story_every_time():
    here = [simulate(7, 1200).digest for _ in range(2)]
    script = "from locum.tests.simulation.story import simulate; print(simulate(7, 1200).digest)"
    environ = {**os.environ, "PYTHONHASHSEED": "12345"}
    there = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True, timeout=120
    ).stdout
    assert here == [there.strip()] * 2


# -- with a promise broken on purpose ---------------------------------------------------------------------------------


def stirred(story):
    """More of what shows a fault soon."""
    story.world.chances.update(
        {
            "ghost": 0.02,
            "unknown": 0.01,
            "slow": 0.03,
            "freeze before": 0.004,
            "freeze before _release_and_announce": 0.5,
        }
    )
    story.every.update({"disable": 6, "move": 6, "stop": 20, "roll": 0, "outage": 0, "kill": 0})


def without_the_fence():
    return mock.patch.object(
        turns, "_FENCE", Statement("SELECT id FROM {rows(id bigint, term bigint)} AS r WHERE :incarnation <> ''")
    )


def with_a_fence_of_the_term_alone():
    return mock.patch.object(
        turns,
        "_FENCE",
        Statement(
            "SELECT s.id FROM schedulers s JOIN {rows(id bigint, term bigint)} AS r ON r.id = s.id AND r.term >= s.term - 1"
            " WHERE s.incarnation = :incarnation"
        ),
    )


def taking_without_a_new_term():
    template = holding._TAKE._template.replace("term = term + 1, ", "")
    return mock.patch.object(holding, "_TAKE", Statement(template))


def releasing_by_name_only():
    template = holding._RELEASE._template.replace(
        " AND schedulers.incarnation = :incarnation", " AND :incarnation <> ''"
    )
    template = template.replace(" AND schedulers.term = r.term", "")
    return mock.patch.object(holding, "_RELEASE", Statement(template))


def taking_what_is_held():
    return mock.patch.multiple(
        holding,
        _TAKEABLE=Statement(holding._TAKEABLE._template.replace(holding._FREE, "s.enabled AND s.term < 9")),
        _LOCK_FREE=Statement(holding._LOCK_FREE._template.replace(holding._FREE, "s.enabled")),
        _TAKE=Statement(
            "UPDATE schedulers SET incarnation = :incarnation, active_since = {now}"
            " WHERE id IN (SELECT id FROM {rows(id bigint)} AS r) AND enabled"
            " RETURNING id, term, change_cursor, finished_cursor, active_since, enabled_at, blocked"
        ),
    )


def the_cursor_left_behind():
    """The change's buildset in one transaction, its cursor in none: after a failover it comes again."""
    template = turns._ROW._template.replace("coalesce(r.change_to, change_cursor)", "change_cursor")
    template = template.replace("r.change_from IS NULL OR change_cursor = r.change_from", "1 = 1")
    return mock.patch.object(turns, "_ROW", Statement(template))


def the_cursor_run_ahead():
    template = turns._ROW._template.replace(
        "coalesce(r.change_to, change_cursor)",
        "(SELECT CASE WHEN r.change_to IS NULL THEN change_cursor ELSE value END FROM counters WHERE name = 'changes')",
    )
    return mock.patch.object(turns, "_ROW", Statement(template))


def the_state_forgotten():
    return mock.patch.object(
        turns, "_STATE", Statement("DELETE FROM scheduler_state WHERE :rows = '' AND scheduler_id IS NULL")
    )


def an_unknown_outcome_taken_for_a_commit():
    real = committer.Committer._fail

    def fail(self, group, why, *, unknown=False):
        if not unknown:
            return real(self, group, why)
        return self._tell(group, turns.Committed(frozenset(), None, None))

    return mock.patch.object(committer.Committer, "_fail", fail)


def enabling_that_moves_no_cursor_on_record():
    return mock.patch.object(orders, "_SKIP", Statement("SELECT :id, :first, :last, :count"))


def dirty_instances():
    return mock.patch.object(activation.Activation, "_put_fresh", lambda *_: None)


@pytest.mark.parametrize(
    "broken",
    [
        without_the_fence,
        with_a_fence_of_the_term_alone,
        taking_without_a_new_term,
        releasing_by_name_only,
        taking_what_is_held,
        the_cursor_left_behind,
        the_cursor_run_ahead,
        the_state_forgotten,
        an_unknown_outcome_taken_for_a_commit,
        enabling_that_moves_no_cursor_on_record,
        dirty_instances,
    ],
)
def test_the_checker_sees(broken):
    for seed in range(12):
        with broken():
            report = simulate(seed, 2500, stirred, peace=False)
        if report.violation:
            print(f"seed {seed} after {report.steps} steps: {report.violation}")
            return
    pytest.fail("twelve stories went by, and nobody noticed")
