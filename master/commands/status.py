"""``locum status``: masters, schedulers, drift, and what needs a person."""

from __future__ import annotations

from typing import Any

import click

from ...db import listings
from ...db.database import Database
from ...db.listings import Cluster, MasterLine, SchedulerLine
from .attention import drifts, needs
from .opening import database_command, json_option
from .output import emit_json, iso, moment, say, span, table

NEEDS_A_PERSON = 2


@click.command()
@json_option
@database_command
def status(database: Database, as_json: bool) -> int:
    """What runs where, and what needs a person.

    Masters; each scheduler: active where, since when, term, next due, failures; drift between configurations. Exit 2 if something needs a person: nobody up, a scheduler that nobody holds, failures set aside, quarantine, drift,
    a clock that is off.
    """
    cluster = database.read(listings.cluster)
    wrong = needs(cluster)
    if as_json:
        emit_json(described(cluster))
    else:
        _for_people(cluster)
        for need in wrong:
            say(f"! {need}")
    return NEEDS_A_PERSON if wrong else 0


def described(cluster: Cluster) -> dict[str, Any]:
    """The whole status as JSON has it."""
    return {
        "cluster_id": cluster.cluster_id,
        "schema_version": cluster.schema_version,
        "now": iso(cluster.now),
        "newest_change": cluster.newest_change,
        "masters": [master_json(m) for m in cluster.masters],
        "schedulers": [scheduler_json(s) for s in cluster.schedulers],
        "drift": [{"about": d.about, "digests": d.digests} for d in drifts(cluster)],
        "needs_attention": [{"about": n.about, "what": n.what, "cure": n.cure} for n in needs(cluster)],
    }


def master_json(m: MasterLine) -> dict[str, Any]:
    """A master as JSON has it."""
    return {
        "name": m.name,
        "incarnation": m.incarnation,
        "state": m.state,
        "acts": m.acts,
        "lease_until": iso(m.lease_until),
        "lease_left_s": m.lease_left / 1e6,
        "lease_s": m.lease_s,
        "host": m.host,
        "pid": m.pid,
        "started_at": iso(m.started_at),
        "last_beat_at": iso(m.last_beat_at),
        "ended_at": iso(m.ended_at),
        "ended_why": m.ended_why,
        "roles": list(m.roles),
        "digest": m.digest,
        "version": m.version,
        "clock_offset_s": m.clock_offset_us / 1e6,
        "running": m.running,
        "holds": m.holds,
    }


def scheduler_json(s: SchedulerLine) -> dict[str, Any]:
    """A scheduler as JSON has it; ``master`` is None when nobody who is up holds it."""
    return {
        "name": s.name,
        "kind": s.kind,
        "type": s.type,
        "enabled": s.enabled,
        "disabled_why": s.disabled_why,
        "master": s.master,
        "incarnation": s.incarnation if s.held else None,
        "term": s.term,
        "active_since": iso(s.active_since) if s.held else None,
        "next_due": iso(s.next_due),
        "standby": list(s.standby),
        "digests": dict(s.digests),
        "failures": s.failures,
        "trouble": s.trouble,
        "set_aside": s.set_aside,
        "messages_waiting": s.messages_waiting,
        "change_cursor": s.change_cursor,
        "finished_cursor": s.finished_cursor,
        "turns": s.turns,
    }


def scheduler_table(lines: list[SchedulerLine]) -> None:
    """Schedulers for people."""
    columns = ("name", "kind", "type", "active on", "since", "term", "next due", "standby", "failures")
    rows = [
        (
            s.name,
            s.kind.replace("_", " "),
            s.type,
            s.master or (f"disabled: {s.disabled_why}" if not s.enabled else "nobody"),
            moment(s.active_since if s.held else None),
            s.term,
            moment(s.next_due),
            ", ".join(s.standby) or "-",
            f"{s.failures}, {s.set_aside} set aside" if s.set_aside else s.failures,
        )
        for s in lines
    ]
    table(columns, rows, "no schedulers yet: a master registers its own when it starts")


def _for_people(cluster: Cluster) -> None:
    columns = ("master", "state", "lease", "holds", "roles", "host", "pid", "since", "version", "clock")
    rows = [
        (
            m.name,
            m.state if not m.ended_why else f"{m.state}: {m.ended_why}",
            _lease(m),
            m.holds,
            ", ".join(m.roles),
            m.host,
            m.pid,
            moment(m.started_at),
            m.version,
            f"{m.clock_offset_us / 1e6:+.3f} s",
        )
        for m in cluster.masters
    ]
    table(columns, rows, "no masters: start one with 'locum start'")
    click.echo()
    scheduler_table(cluster.schedulers)
    for drift in drifts(cluster):
        say(f"~ {drift.about}: " + ", ".join(f"{name} {digest[:12]}" for name, digest in drift.digests.items()))


def _lease(m: MasterLine) -> str:
    if m.state not in ("up", "stopping"):
        return "-"
    return f"{span(m.lease_left)} left" if m.lease_left >= 0 else f"ended {span(m.lease_left)} ago"
