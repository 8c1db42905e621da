"""Faults of the network between one master and PostgreSQL. SQLite has none: it is a file."""

from __future__ import annotations

from .faults import POSTGRESQL, Detail, Kind, Site, on_a_master
from .history import Planned
from .proxy import Side, Way


def _cut(site: Site, planned: Planned, *ways: Way) -> None:
    proxy = site.ground.proxies[planned.target]
    try:
        proxy.hold(*ways)
        site.pause(planned.args["seconds"])
    finally:
        proxy.heal()


def _cut_both(site: Site, planned: Planned, detail: Detail) -> None:
    """Nothing arrives on either side; later all that was said meanwhile does."""
    _cut(site, planned)


def _cut_to_server(site: Site, planned: Planned, detail: Detail) -> None:
    """What the master says does not arrive; later it does, commits that it has long given up among it."""
    _cut(site, planned, "to-server")


def _cut_to_client(site: Site, planned: Planned, detail: Detail) -> None:
    """What the master says arrives, answers do not: it may not know what was committed."""
    _cut(site, planned, "to-client")


def _slow(site: Site, planned: Planned, detail: Detail) -> None:
    """Every answer takes longer, up to so long that no heartbeat is in time."""
    proxy = site.ground.proxies[planned.target]
    try:
        proxy.slow(planned.args["delay_s"])
        site.pause(planned.args["seconds"])
    finally:
        proxy.heal()


def _reset(site: Site, planned: Planned, detail: Detail) -> None:
    """All connections break, again and again."""
    proxy = site.ground.proxies[planned.target]
    detail["broken"] = 0
    for _ in range(int(planned.args["times"])):
        detail["broken"] += proxy.reset()
        site.pause(planned.args["every_s"])


def _half_open(site: Site, planned: Planned, detail: Detail, gone: Side) -> None:
    proxy = site.ground.proxies[planned.target]
    try:
        detail["broken"] = proxy.half_open(gone)
        site.pause(planned.args["seconds"])
    finally:
        proxy.heal()


def _without_server(site: Site, planned: Planned, detail: Detail) -> None:
    """The server's ends of all connections are gone, and the master hears nothing of that."""
    _half_open(site, planned, detail, "server")


def _without_client(site: Site, planned: Planned, detail: Detail) -> None:
    """The master's connections break, and the server goes on waiting for it, with whatever its sessions hold."""
    _half_open(site, planned, detail, "client")


KINDS = (
    Kind("net-cut", on_a_master(leases=(0.3, 4)), _cut_both, "network", POSTGRESQL),
    Kind("net-cut-to-server", on_a_master(leases=(0.3, 4)), _cut_to_server, "network", POSTGRESQL),
    Kind("net-cut-to-client", on_a_master(leases=(0.3, 4)), _cut_to_client, "network", POSTGRESQL),
    Kind("net-slow", on_a_master(leases=(1, 4), delay_s=(0.02, 0.8)), _slow, "network", POSTGRESQL),
    Kind("net-reset", on_a_master(times=(1, 8), every_s=(0.2, 1.5)), _reset, "network", POSTGRESQL),
    Kind("net-half-open-server", on_a_master(leases=(0.5, 4)), _without_server, "network", POSTGRESQL),
    Kind("net-half-open-client", on_a_master(leases=(0.5, 4)), _without_client, "network", POSTGRESQL),
)
