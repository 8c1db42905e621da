"""``locum db``: the schema, the database's health, and what to do after restoring a backup."""

from __future__ import annotations

import sys

import click

from ...db import recovering, upgrading
from ...db.database import Database
from ...db.schema import SCHEMA_VERSION
from .opening import config_option, database_command, database_option, json_option, opened, reason_option, who
from .output import emit_json, say


@click.group()
def db() -> None:
    """The database: upgrade, check, recover."""


@db.command("upgrade")
@config_option
@database_option
def db_upgrade(config_file: str | None, database_url: str | None) -> None:
    """Bring the schema to this release's version, or make it in an empty database. Safe to repeat, and at any time."""
    with opened(config_file, database_url, ready=False) as database:
        before, now = database.write(upgrading.upgrade)
        shown = str(database.url)
    if before is None:
        say(f"{shown}: created, schema version {now}")
    elif before == now:
        say(f"{shown}: has schema version {now} already")
    elif before > SCHEMA_VERSION:
        say(f"{shown}: has schema version {before}, newer than this release's {SCHEMA_VERSION}")
    else:
        say(f"{shown}: upgraded from schema version {before} to {now}")


@db.command("check")
@config_option
@database_option
@json_option
def db_check(config_file: str | None, database_url: str | None, as_json: bool) -> int:
    """Look for what is wrong in the database; exit 1 if anything is."""
    with opened(config_file, database_url) as database:
        found = database.read(recovering.check)
        shown = str(database.url)
    if as_json:
        emit_json([{"what": f.what, "cure": f.cure} for f in found])
    else:
        for finding in found:
            say(f"{finding}")
        say(f"{shown}: {f'{len(found)} faults' if found else 'well'}")
    return 1 if found else 0


@db.command("recover")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--force", is_flag=True, help="Even if a master seems to be running on it.")
@reason_option
@json_option
@database_command
def db_recover(database: Database, yes: bool, force: bool, reason: str, as_json: bool) -> int | None:
    """After restoring a backup, with all masters stopped: raise every term and give the cluster a new id.

    Whatever process still knows the lost database can then do nothing to this one, and ids are not given twice.
    """
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("Give --yes: there is nobody to ask.")
        click.confirm(f"Recover {database.url}? All masters must be stopped", abort=True)
    done = database.write(recovering.recover, who(), reason, force=force)
    if as_json:
        emit_json(
            {
                "old_cluster_id": done.old_cluster_id,
                "cluster_id": done.cluster_id,
                "schedulers": done.schedulers,
                "masters_lost": done.masters_lost,
                "counters": done.counters,
            }
        )
        return None
    say(f"the cluster {done.old_cluster_id} is now {done.cluster_id}")
    say(f"the terms of {done.schedulers} schedulers were raised; {done.masters_lost} masters were declared lost")
    say("ids go on after: " + ", ".join(f"{name} {value}" for name, value in done.counters.items()))
    say("start the masters again")
    return None
