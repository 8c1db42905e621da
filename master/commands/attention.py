"""What in a cluster needs a person, judged from a listing of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ...db.listings import Cluster, MasterLine, SchedulerLine
from ...db.orders import QUARANTINED
from .output import span

CLOCK_OFFSET_LIMIT_US = 1_000_000
REMOVED = "it was taken out of"
"""How the last reason begins in a scheduler's ownership when it was taken out of the configuration on purpose."""
UNABLE = "it could not be activated"
"""And when a master took it and had to give it back."""


@dataclass(frozen=True, slots=True)
class Need:
    """What is wrong with what, and what a person can do."""

    about: str
    what: str
    cure: str

    def __str__(self) -> str:
        return f"{self.about}: {self.what}; {self.cure}"


@dataclass(frozen=True, slots=True)
class Drift:
    """Masters that should have the same configuration and do not: (master, digest) each."""

    about: str
    digests: dict[str, str]


def drifts(cluster: Cluster) -> list[Drift]:
    """Masters with different files, and the schedulers that differ between those that stand by for them."""
    up = {m.name: m.digest for m in cluster.masters if m.state == "up"}
    found = [Drift("configuration", up)] if len(set(up.values())) > 1 else []
    differing = (s for s in cluster.schedulers if len(set(s.digests.values())) > 1)
    return [*found, *(Drift(_named(s), dict(s.digests)) for s in differing)]


def needs(cluster: Cluster) -> list[Need]:
    """Everything that will not mend itself."""
    acting = [m for m in cluster.masters if m.acts]
    found: list[Need] = []
    if not any(m.state == "up" for m in acting):
        found.append(Need("cluster", "no master is up", "start one with 'locum start'"))
    elif not any("schedulers" in m.roles for m in acting):
        found.append(Need("cluster", "no master that is up has the role 'schedulers'", "start one that has it"))
    else:
        found += _unheld(cluster, acting)
    found += _of_masters(cluster.masters)
    for line in cluster.schedulers:
        found += _of_scheduler(line)
    return found + _of_drift(drifts(cluster))


def _of_drift(found: list[Drift]) -> list[Need]:
    files = [d for d in found if d.about == "configuration"]  # says it all: what differs in detail is listed as drift
    cure = "give all the same file, then 'locum reconfig --all'"
    return [Need(d.about, f"differs between the masters {', '.join(d.digests)}", cure) for d in files or found]


def _unheld(cluster: Cluster, acting: Iterable[MasterLine]) -> list[Need]:
    lease_us = max(m.lease_s for m in acting) * 1_000_000
    began = min(m.started_at for m in acting)
    found = []
    for line in cluster.schedulers:
        if not line.enabled or line.held:
            continue
        if (line.unheld_why or "").startswith(UNABLE) and line.digests:  # said at once: each new try would put it off
            cure = "mend that; it is tried again every few minutes at the latest"
            found.append(Need(_named(line), f"{line.unheld_why}", cure))
            continue
        since = max(line.unheld_since or 0, began)
        if cluster.now - since <= lease_us:
            continue
        waited = f"nobody has held it for {span(cluster.now - since)}"
        if line.digests:
            found.append(Need(_named(line), waited, "look for its errors in the masters' logs"))
        elif not (line.unheld_why or "").startswith(REMOVED):
            cure = "start a master that has it, or disable it"
            found.append(Need(_named(line), f"{waited}: no master that is up has it configured", cure))
    return found


def _of_masters(masters: Iterable[MasterLine]) -> list[Need]:
    found = []
    for m in masters:
        about = f"master '{m.name}'"
        if m.state not in ("up", "stopping"):
            continue
        if m.lease_left < -m.lease_s * 1_000_000:
            what = f"its lease ended {span(m.lease_left)} ago and nobody has taken over (it holds {m.holds})"
            found.append(Need(about, what, "start it again, or another master"))
        if abs(m.clock_offset_us) > CLOCK_OFFSET_LIMIT_US:
            way = "ahead of" if m.clock_offset_us > 0 else "behind"
            what = f"its host's clock is {span(m.clock_offset_us)} {way} the database's"
            found.append(Need(about, what, "set the clock (NTP)"))
    return found


def _of_scheduler(line: SchedulerLine) -> list[Need]:
    found = []
    if not line.enabled and (line.disabled_why or "").startswith(QUARANTINED):
        cure = f"mend it, then 'locum scheduler enable {line.name}'"
        found.append(Need(_named(line), line.disabled_why or "", cure))
    if line.set_aside:
        what = f"{line.set_aside} cause(s) were set aside after repeated errors"
        found.append(
            Need(_named(line), what, f"see 'locum scheduler failures {line.name}', then retry or discard them")
        )
    if line.trouble and line.enabled:
        found.append(Need(_named(line), line.trouble, "mend what it says; it goes on by itself then"))
    return found


def _named(line: SchedulerLine) -> str:
    return f"{line.kind.replace('_', ' ')} '{line.name}'"
