"""Faults of the masters' processes: killed, frozen, blocked, ended at a fail point, doubled, started anew, with clocks that are off."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Sequence

from locum.db import fail_points, orders
from locum.db.errors import DatabaseError

from .failpoints import POINTS, Point
from .faults import POSTGRESQL, Args, Dealer, Detail, Draw, Kind, Site, on_a_master, on_all
from .history import Planned

UP_S = 25.0
"""How long a fault waits for a master to be up before it goes on without that."""
STRIKE_S = 15.0
"""How long a master may take to come to a fail point."""
SETTLE_S = 2.0
"""Until a master that has just come up looks for tasks, and has seen the others hold their locks."""
WHO = "nemesis"
GIVE_TIMES = 10
_HOLDS = (
    "SELECT COUNT(*) FROM schedulers s JOIN masters m ON m.incarnation = s.incarnation"
    " WHERE m.name = :name AND m.state = 'up'"
)
CLOCK_OFFSETS_S = (1, -1, 3600, -3600, 86_400, -86_400)


def _kill(site: Site, planned: Planned, detail: Detail) -> None:
    """kill -9, and some time later it is started again."""
    site.masters.stay_down(planned.target)
    site.masters.kill(planned.target)
    site.pause(planned.args["seconds"])
    site.masters.start(planned.target)


def _term(site: Site, planned: Planned, detail: Detail) -> None:
    """SIGTERM, now and then twice; it is started again when it has ended."""
    name = planned.target
    site.masters.stay_down(name)
    if site.masters.signal(name, signal.SIGTERM):
        if planned.args["twice"] > 0.5:
            site.pause(planned.args["twice"])
            site.masters.signal(name, signal.SIGTERM)
        detail["exit_code"] = site.masters.wait(name)
    site.pause(planned.args["seconds"])
    site.masters.start(name)


def _freeze(site: Site, planned: Planned, detail: Detail) -> None:
    """SIGSTOP and SIGCONT. On SQLite it may have been killed meanwhile: it froze in the middle of a write."""
    _frozen(site, planned.target, planned.args["seconds"], detail)


def _frozen(site: Site, name: str, seconds: float, detail: Detail) -> None:
    with _stopped(site, name, detail):
        site.pause(seconds)


@contextlib.contextmanager
def _stopped(site: Site, name: str, detail: Detail) -> Iterator[None]:
    pid = site.masters.pid(name)
    try:
        site.masters.signal(name, signal.SIGSTOP)
        yield
    finally:
        detail["killed"] = not (site.masters.alive(name) and site.masters.pid(name) == pid)
        site.masters.signal(name, signal.SIGCONT)


def _block(site: Site, planned: Planned, detail: Detail) -> None:
    """Its reactor's thread stands still in the middle of something; its other threads go on."""
    name, seconds = planned.target, planned.args["seconds"]
    detail["blocked"] = site.until(lambda: site.masters.alive(name), UP_S) and site.until(
        lambda: site.ground.block(site.masters.pid(name), seconds), UP_S
    )
    if detail["blocked"]:
        site.pause(seconds)


def _draw_fail_point(name: str, points: Sequence[Point]) -> Draw:
    def draw(dealer: Dealer, masters: Sequence[str], lease_s: float) -> tuple[str, Args]:
        point = dealer.deal(name, points)
        return dealer.rng.choice(masters), {
            "point": point.name,
            "provoke": point.provoke,
            "count": dealer.rng.randint(1, point.most),
            "what": dealer.rng.choice(("kill", "kill", "freeze")),
            "frozen_s": dealer.between(0.3 * lease_s, 2.5 * lease_s),
            "seconds": 8.0,
        }

    return draw


def _fail_point(site: Site, planned: Planned, detail: Detail) -> None:
    """It is started anew such that it ends, or freezes, at one point of its code; then it is made to come there."""
    name, args = planned.target, planned.args
    _end(site, name)
    said = len(site.masters.cluster.log(name))
    site.masters.start(name, {fail_points.VARIABLE: f"{args['point']}:{args['count']}:{args['what']}"})
    pid = site.masters.pid(name)

    def struck() -> bool:
        return f"fail point {args['point']}: " in site.masters.cluster.log(name)[said:]

    site.until(lambda: struck() or site.masters.up(name), UP_S)
    if not struck():
        _provoke(site, name, args["provoke"])
    detail["struck"] = site.until(struck, STRIKE_S)
    if detail["struck"] and args["what"] == "freeze":
        _frozen(site, name, args["frozen_s"], detail)
    elif site.masters.alive(name) and site.masters.pid(name) == pid:  # nor may it strike later, when nobody expects it
        _end(site, name)
    site.masters.start(name)


def _provoke(site: Site, name: str, how: str) -> None:
    cluster = site.masters.cluster
    others = [other for other in site.masters.names if other != name]
    with contextlib.suppress(DatabaseError):
        if how in ("work", "leave", "reconfigure"):
            _give_work(site, name)
        else:
            site.pause(SETTLE_S)
        if how == "leave":
            site.masters.stay_down(name)
            site.masters.signal(name, signal.SIGTERM)
        elif how == "reconfigure":
            site.masters.configure(name, site.masters.variant(name) + 1)
            cluster.order(orders.ask_masters, "reconfig", [name], WHO)
        elif how == "lapse":
            _frozen(site, name, 1.7 * site.lease_s, {})
        elif how == "deaths":
            for other in others:
                site.masters.kill(other)
        elif how == "death":
            with _stopped(site, others[-1], {}):  # first, so that nobody else sees the other one's end
                site.masters.kill(others[0])
                site.pause(1.7 * site.lease_s)


def _give_work(site: Site, name: str) -> None:
    """It gets its share of the schedulers: a master that has just started is up a moment before it stands by for any."""
    cluster = site.masters.cluster
    for _ in range(GIVE_TIMES):
        if not site.masters.alive(name) or cluster.value(_HOLDS, name=name) or site.over.is_set():
            return
        cluster.order(orders.rebalance, WHO)
        site.pause(0.5)


def _end(site: Site, name: str) -> None:
    """It ends, by SIGTERM if that is quick."""
    site.masters.stay_down(name)
    site.masters.signal(name, signal.SIGTERM)
    if not site.until(lambda: not site.masters.alive(name), 3.0):
        site.masters.kill(name)
    site.masters.wait(name)


def _twin(site: Site, planned: Planned, detail: Detail) -> None:
    """Another process of the same name: refused while the first one lives; its heir when that one is frozen for long."""
    name, frozen = planned.target, planned.args["frozen"] > 0.5
    first = site.masters.pid(name)
    if frozen:
        site.masters.signal(name, signal.SIGSTOP)
    twin = site.masters.start_twin(name)
    try:
        # It waits lease + heartbeat before it refuses or goes on.
        site.until(lambda: twin.poll() is not None, planned.args["seconds"])
        if frozen:
            site.masters.signal(name, signal.SIGCONT)
            site.pause(site.lease_s)  # who woke up has to give way, and comes back as a twin of its twin
    finally:
        if frozen:
            site.masters.signal(name, signal.SIGCONT)
        code = site.masters.end_twin(name, twin)
        lives = site.masters.alive(name) and site.masters.pid(name) == first
        detail |= {"frozen": frozen, "twin": twin.pid, "twin_exit_code": code, "first_lives": lives}
    site.masters.start(name)


def _cold(site: Site, planned: Planned, detail: Detail) -> None:
    """Power cut: all masters are killed at once, and start again together."""
    names = site.masters.names
    site.masters.stay_down(*names)
    for name in names:
        site.masters.signal(name, signal.SIGKILL)
    for name in names:
        site.masters.wait(name)
    site.pause(planned.args["seconds"])
    for name in names:
        site.masters.start(name)


def _at_once(site: Site, planned: Planned, detail: Detail) -> None:
    """All leave at once, and all join at once."""
    names = site.masters.names
    site.masters.stay_down(*names)
    for name in names:
        site.masters.signal(name, signal.SIGTERM)
    detail["exit_codes"] = [site.masters.wait(name) for name in names]
    site.pause(planned.args["seconds"])
    for name in names:
        site.masters.start(name)


def _rolling(site: Site, planned: Planned, detail: Detail) -> None:
    """One after another is stopped and started with another configuration, while the others have the old one."""
    variant = max(site.masters.variant(name) for name in site.masters.names) + 1
    detail["variant"] = variant
    detail["slow_to_come_up"] = []
    for name in site.masters.names:
        site.masters.stay_down(name)
        try:
            if site.masters.signal(name, signal.SIGTERM):
                site.masters.wait(name)
            site.masters.configure(name, variant)
        finally:
            site.masters.start(name)
        if not site.until(lambda name=name: site.masters.up(name), UP_S):  # type: ignore[misc]
            detail["slow_to_come_up"].append(name)
        site.pause(planned.args["seconds"])


def _draw_clock_step(dealer: Dealer, masters: Sequence[str], lease_s: float) -> tuple[str, Args]:
    offset_s = dealer.deal("clock", CLOCK_OFFSETS_S)
    return dealer.rng.choice(masters), {"offset_s": offset_s, "seconds": dealer.between(3, 10)}


def _clock_step(site: Site, planned: Planned, detail: Detail) -> None:
    """Its wall clock jumps away, and later back."""
    try:
        site.ground.set_clock(planned.target, planned.args["offset_s"])
        site.pause(planned.args["seconds"])
    finally:
        site.ground.set_clock(planned.target, 0)
        site.over.wait(1.1)  # until it is read again


def _clock_drift(site: Site, planned: Planned, detail: Detail) -> None:
    """Its wall clock is ever further off, by some percent of the time that passes; then it is right again."""
    seconds, rate, step_s = planned.args["seconds"], planned.args["rate"], 0.25
    try:
        for step in range(int(seconds / step_s)):
            site.ground.set_clock(planned.target, step * step_s * rate)
            site.pause(step_s)
    finally:
        site.ground.set_clock(planned.target, 0)
        site.over.wait(1.1)


_DEATH = [point for point in POINTS if point.provoke.startswith("death")]
_ALONE = [point for point in POINTS if point not in _DEATH]

KINDS = (
    Kind("kill", on_a_master(leases=(0, 2)), _kill, "process", weight=2),
    Kind("term", on_a_master(leases=(0, 1), twice=(0, 1)), _term, "process"),
    Kind("freeze-below", on_a_master(leases=(0.2, 0.8)), _freeze, "process"),
    Kind("freeze-about", on_a_master(leases=(0.8, 1.3)), _freeze, "process"),
    Kind("freeze-above", on_a_master(leases=(1.5, 4)), _freeze, "process"),
    Kind("block", on_a_master(leases=(0.2, 2.5)), _block, "process"),
    Kind("fail-point", _draw_fail_point("alone", _ALONE), _fail_point, "process", weight=8),
    Kind("fail-point-death", _draw_fail_point("death", _DEATH), _fail_point, "all", weight=2),
    Kind("twin", on_a_master(leases=(1.5, 3), frozen=(0, 1)), _twin, "process"),
    Kind("cold-start", on_all(leases=(0, 2)), _cold, "all"),
    Kind("all-at-once", on_all(leases=(0, 0.5)), _at_once, "all"),
    Kind("rolling", on_all(leases=(0, 0.5)), _rolling, "all"),
    # SQLite serves masters of one host, and a host has one clock.
    Kind("clock-step", _draw_clock_step, _clock_step, "clock", POSTGRESQL, needs="libfaketime", weight=2),
    Kind(
        "clock-drift",
        on_a_master(rate=(-0.3, 0.3), seconds=(5, 12)),
        _clock_drift,
        "clock",
        POSTGRESQL,
        needs="libfaketime",
    ),
)
