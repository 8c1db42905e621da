"""``locum reconfig``: have masters read their own files again, or say what that would change."""

from __future__ import annotations

from typing import Any

import click

from ...db import orders
from ...db.database import Database
from ...db.naming import Refused
from .opening import SECONDS, announce, database_command, json_option, polled, reason_option, who
from .output import emit_json, say

DEFAULT_TIMEOUT_S = 60.0


@click.command()
@click.option("--diff", is_flag=True, help="Only tell what would change.")
@click.option("--master", "names", multiple=True, metavar="NAME", help="Only this master; may be repeated.")
@click.option("--all", "everyone", is_flag=True, help="All masters that are up (as without --master).")
@click.option("--timeout", type=SECONDS, default=DEFAULT_TIMEOUT_S, show_default=True, metavar="SECONDS")
@reason_option
@json_option
@database_command
def reconfig(
    database: Database,
    diff: bool,
    names: tuple[str, ...],
    everyone: bool,
    timeout: float,
    reason: str,
    as_json: bool,
) -> int:
    """Have masters read their files again.

    Each touches only what differs in its own file; a faulty one changes nothing. Exit 1 if a master refused its file or did not answer in time.
    """
    if names and everyone:
        raise click.UsageError("Give either --master or --all.")
    asked = _ask(database, "diff" if diff else "reconfig", list(names) or None, reason)
    if not asked:
        raise Refused("no master is up, so there is nothing to reconfigure; a master reads its file when it starts")
    ids = [a.id for a in asked]
    polled(database, lambda conn: _all_answered(orders.answers(conn, ids)), 0.1, timeout)
    answered = database.read(orders.answers, ids)
    by_name = {a.master: answered.get(a.id) or {"error": f"no answer within {timeout:g} s"} for a in asked}
    if as_json:
        emit_json({"masters": by_name})
    else:
        for name, answer in by_name.items():
            _tell(name, answer, diff)
    return 1 if any("error" in answer or answer.get("ok") is False for answer in by_name.values()) else 0


def _ask(database: Database, what: str, names: list[str] | None, reason: str) -> list[orders.Asked]:
    asked = database.write(orders.ask_masters, what, names, who(), reason)
    announce(database, ["orders"])
    return asked


def _all_answered(found: dict[int, dict[str, Any] | None]) -> bool | None:
    return True if all(answer is not None for answer in found.values()) else None


def _tell(name: str, answer: dict[str, Any], diff: bool) -> None:
    if "error" in answer:
        say(f"{name}: refused: {answer['error']}")
    faults = answer.get("faults") or []
    for fault in faults:
        say(f"{name}: {fault}")
    if "error" in answer:
        return
    lines = answer.get("lines") or []
    state = "would change" if diff else "changed"
    say(f"{name}: {f'{len(lines)} {state}' if lines else 'nothing differs'}")
    for line in lines:
        say(f"{name}:   {line}")
