"""Schedulers that raise, block, never finish or answer rubbish: the others are unaffected, and a person can see and mend it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from locum.tests.support import hostile, truth
from locum.tests.support.cluster import Cluster, branch, periodic, single

Make = Callable[..., Cluster]
HOSTILE = str(Path(hostile.__file__))
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
"""What does not depend on the database is tried on one of them: each master takes a second to start."""


def settings(*schedulers: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "master": {"roles": ["schedulers"]},
        "plugins": [HOSTILE],
        "builders": single(),
        "schedulers": list(schedulers),
        **more,
    }


def failing(where: str, **keys: Any) -> dict[str, Any]:
    return {"type": "hostile.Failing", "name": where, "where": where, "builderNames": ["unit"], **keys}


IN_A_CHANGE = (
    *("gotChange", "fileIsImportant", "never", "notJson", "nan", "unknownBuilder", "unknownChange", "half", "nul"),
    "systemExit",
)
HARMLESS = ("stopService", "deactivate", "stopActivity")
AT_ACTIVATION = ("activate", "startActivity", "startService")


def test_whatever_a_scheduler_does_the_others_go_on_and_its_failures_are_listed_retried_and_mended(
    cluster: Make,
) -> None:
    """Raising in every hook, never finishing, rubbish answers, state that is no JSON, unknown builders."""
    well = [branch("quick"), periodic("tick"), {"type": "hostile.Rubbish", "name": "rubbish", "builderNames": ["unit"]}]
    bad = [failing(w) for w in (*IN_A_CHANGE, *HARMLESS, *AT_ACTIVATION, "gotTimer", "buildsetFilter")]
    c = cluster(**settings(*well, *bad, cluster={"lease": "4s", "heartbeat": "500ms", "turn_timeout": "1s"}))
    c.start("m1")
    c.wait_held("quick", "tick", "rubbish", *IN_A_CHANGE, *HARMLESS)
    c.add_changes(["r0"])
    for name in ("quick", "rubbish", *HARMLESS):
        c.until(lambda n=name: c.built(n) == ["r0"], f"{name} builds")
    number = c.value("SELECT number FROM changes")

    def failures() -> dict[tuple[str, str], dict[str, Any]]:
        return {(f["scheduler"], f["cause"]): f for f in c.json("scheduler", "failures")}

    wanted = {(name, f"change:{number}") for name in IN_A_CHANGE} | {("gotTimer", "timer:once")}
    c.until(lambda: wanted <= set(failures()), "all failures are listed")
    c.until(lambda: all(failures()[w]["attempts"] >= 2 for w in wanted), "each has been tried again")
    listed = failures()
    assert "fails on purpose" in listed["gotChange", f"change:{number}"]["error"]
    assert "turn_timeout" in listed["never", f"change:{number}"]["error"]
    assert "nobody" in listed["unknownBuilder", f"change:{number}"]["error"]
    assert not any(f["set_aside"] for f in listed.values())
    assert all(c.built(name) == [] for name in IN_A_CHANGE), "nothing of a failed turn is seen"
    assert c.state("half", "half") is None and c.state("never", "half") is None
    for name in AT_ACTIVATION:
        assert f"{name} of {name} fails on purpose" in c.log("m1")
        c.until(lambda n=name: c.held(n) == [], f"{name} is released")

    # mended, by whatever means: the next try succeeds, and nothing was lost meanwhile
    c.add_changes(["r1"])
    for entry in bad:
        (c.folder / f"{entry['name']}.mended").touch()
    for name in (*IN_A_CHANGE, "gotTimer"):
        c.quick("scheduler", "failures", name, "--retry", "all", code=None)
    for name in (*IN_A_CHANGE, *HARMLESS):
        c.until(lambda n=name: len(c.built(n)) == 2, f"{name} has built both")
        truth.every_change_once(c, name, ["r0", "r1"])
    c.until(lambda: c.state("gotTimer", "timer") == "fired", "the timer too")
    c.until(lambda: failures() == {}, "no failure is left")
    c.wait_held(*AT_ACTIVATION)  # tried again by itself, with a growing pause
    assert truth.every_tick_once(c, "tick") > 2
    assert c.processes["m1"].poll() is None
    assert c.stop("m1") == [0]
    truth.terms_only_rise(c)


@on_postgresql
def test_a_cause_set_aside_is_listed_until_it_is_retried_or_discarded(cluster: Make) -> None:
    """P3: the scheduler goes on without it; ``status`` asks for a person; --retry answers it after all, --discard never."""
    c = cluster(**settings(failing("gotChange"), branch("quick")))
    c.start("m1")
    c.wait_held("gotChange", "quick")
    c.add_changes(["r0", "r1"])
    first, second = [row[0] for row in c.rows("SELECT number FROM changes ORDER BY number")]

    def found(cause: str) -> dict[str, Any] | None:
        return next((f for f in c.json("scheduler", "failures", "gotChange") if f["cause"] == cause), None)

    for number in (first, second):  # as if it had been tried for hours
        c.until(lambda n=number: found(f"change:{n}"), f"change {number} has failed")
        c.execute("UPDATE failures SET attempts = 99, retry_at = 1 WHERE cause = :c", c=f"change:{number}")
        c.execute("UPDATE schedulers SET term = term + 1 WHERE name = 'gotChange'")
        c.until(lambda n=number: found(f"change:{n}")["set_aside"], f"change {number} is set aside")
    c.until(lambda: c.json("status", code=None)["needs_attention"], "status asks for a person")
    assert "set aside" in c.quick("status", code=2).stdout
    (c.folder / "gotChange.mended").touch()
    c.add_changes(["r2"])
    c.until(lambda: c.built("gotChange") == ["r2"], "it goes on without them")
    c.quick("scheduler", "failures", "gotChange", "--retry", f"change:{first}")
    c.until(lambda: sorted(c.built("gotChange")) == ["r0", "r2"], "the retried one is answered after all")
    c.until(lambda: found(f"change:{first}") is None, "and is listed no more")
    c.quick("scheduler", "failures", "gotChange", "--discard", f"change:{second}")
    assert c.json("scheduler", "failures", "gotChange") == []
    c.add_changes(["r3"])
    c.until(lambda: len(c.built("gotChange")) == 3, "it goes on")
    truth.every_change_once(c, "gotChange", ["r0", "r2", "r3"])
    c.until(lambda: c.json("status", code=None)["needs_attention"] == [], "nothing needs a person any more")


@on_postgresql
def test_what_cannot_be_activated_on_one_master_goes_to_another(cluster: Make) -> None:
    """Failed activation releases, with a pause, instead of keeping a claim half-activated."""
    c = cluster(**settings(failing("activate", on=["m1"]), branch("quick")))
    c.start("m1")
    c.wait_held("quick")
    c.until(lambda: "scheduler activate cannot be activated" in c.log("m1"), "m1 cannot")
    c.until(lambda: c.held("activate") == [], "it is released")
    c.start("m2")
    c.wait_held("activate", by=["m2"])
    c.add_changes(["r0"])
    c.until(lambda: c.built("activate") == ["r0"], "m2 can")
    owners = c.json("scheduler", "show", "activate")["owners"]
    assert any("could not be activated" in o["why"] for o in owners)
    truth.terms_only_rise(c)


@pytest.mark.parametrize(
    ("how", "database_url"), [("block", "sqlite"), ("grip", "postgresql")], indirect=["database_url"]
)
def test_a_blocked_master_loses_everything_and_its_blocker_is_quarantined_the_second_time(
    cluster: Make, how: str
) -> None:
    """P9: a reactor that no longer answers is as good as dead, also when the interpreter's lock is kept; twice: disabled,
    with the reason, and ``status`` exits with 2."""
    # Not grip on SQLite: its threads may stand still in the middle of a write, so its process may be killed.
    blocking = {"type": "hostile.Blocking", "name": "blocking", "builderNames": ["unit"]}
    c = cluster(**settings(blocking, branch("quick"), branch("other"), periodic("tick")))
    c.start("m1")
    c.wait_held("blocking", "quick", "other", "tick")
    c.start("m2", "m3")
    assert c.holder("blocking") == "m1"
    c.add_changes(["r0"], comments=f"{how} 4")
    c.wait_held("quick", "other", "tick", by=["m2", "m3"])
    c.until(lambda: len(list(c.folder.glob("blocking.*.trace"))) >= 2, "it blocks the next one too")
    c.until(lambda: not c.line("blocking").enabled, "it is quarantined")
    c.until(lambda: set(c.up()) == {"m1", "m2", "m3"}, "all are back")
    c.wait_held("quick", "other", "tick")
    shown = {s["name"]: s for s in c.json("status", code=2)["schedulers"]}
    assert shown["blocking"]["disabled_why"].startswith("quarantined: ")
    assert "blocked" in shown["blocking"]["disabled_why"]
    assert "blocking" in c.quick("status", code=2).stdout
    c.add_changes(["r1"])
    for name in ("quick", "other"):
        c.until(lambda n=name: len(c.built(n)) == 2, f"{name} goes on")
        truth.every_change_once(c, name, ["r0", "r1"])
    truth.every_tick_once(c, "tick")
    truth.terms_only_rise(c)
    assert all(process.poll() is None for process in c.processes.values())


@on_sqlite
def test_a_stop_in_the_middle_of_an_endless_turn_hands_over_all_the_same(cluster: Make) -> None:
    """An open turn may commit within 0.3 s; then the term is raised, and its cause comes again elsewhere."""
    c = cluster(**settings(failing("never"), branch("quick")))
    c.start("m1")
    c.wait_held("never", "quick")
    c.start("m2")
    c.add_changes(["r0"])
    c.until(lambda: c.built("quick") == ["r0"], "the other has built")
    (c.folder / "never.mended").touch()
    c.signal("m1", signal.SIGTERM)
    c.until(lambda: c.built("never") == ["r0"], "m2 answers the cause that m1 did not")
    assert c.wait("m1") == 0
    assert c.state("never", "half") is None
    truth.terms_only_rise(c)
