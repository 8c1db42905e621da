"""``locum scheduler`` and ``locum rebalance``: who holds what, and who should."""

from __future__ import annotations

from typing import Any

import click

from ...db import coming, listings, naming, orders
from ...db.database import Database
from ...db.listings import FailureLine, SchedulerPage
from ...db.stored import read_value
from ...schedulers.cron import CronRule
from ...schedulers.timed import STATE
from .asking import asked, kept, request_option, span_given, zone_name_or_default, zone_option
from .next import description_in, grid_in, rule_text
from .opening import announce, database_command, json_option, reason_option, who, written
from .output import counted, either, emit_json, fields, iso, moment, say, table
from .status import scheduler_json, scheduler_table
from .twins import Twin

kind_option = click.option(
    "--kind", type=click.Choice(naming.KINDS), help="Which is meant, if a change source has the same name."
)


@click.group(cls=Twin, twin="schedule")
def scheduler() -> None:
    """Schedulers: list, enable, disable, move, run now.

    (Not schedules made at run time: 'locum schedule'.)
    """


@scheduler.command("list")
@json_option
@database_command
def scheduler_list(database: Database, as_json: bool) -> None:
    """All schedulers and change sources."""
    found = database.read(listings.schedulers)
    either(as_json, lambda: [scheduler_json(s) for s in found], lambda: scheduler_table(found))


@scheduler.command("show")
@click.argument("name")
@kind_option
@json_option
@database_command
def scheduler_show(database: Database, name: str, kind: str | None, as_json: bool) -> None:
    """One scheduler: its timers, state, failures, skips, and who held it."""
    page = database.read(listings.scheduler, name, kind)
    (row,) = database.read(coming.timed, STATE, page.line.id)
    now = database.read(listings.now)
    when, clock_changes = _rule_texts(row, now)
    either(
        as_json,
        lambda: {**_page_json(page), "text": when, "clock_changes": clock_changes or None},
        lambda: _page(page, when, clock_changes),
    )


def _rule_texts(row: coming.TimedRow, now: int) -> tuple[str | None, str]:
    """(its rule in English, what the next changes of the clock do to it); None: it has none that is known."""
    about, grid = description_in(row.about_json, row.name), grid_in(row.state_json, row.name)
    if about is None or about.times is None or grid is None:
        return None, ""
    rule = about.times.rule(grid[0])
    if rule is None:
        return f"by code of {about.cls}", ""
    return rule_text(rule), rule.clock_changes(now) if isinstance(rule, CronRule) else ""


def _page_json(page: SchedulerPage) -> dict[str, Any]:
    return {
        **scheduler_json(page.line),
        "state": {key: read_value(value, f"state {key!r} of {page.line.name!r}") for key, value in page.state.items()},
        "timers": [{"key": t.key, "due": iso(t.due)} for t in page.timers],
        "failure_list": [_failure_json(f) for f in page.failures],
        "skips": [
            {
                "what": s.what,
                "first": iso(s.first) if s.what == "ticks" else s.first,
                "last": iso(s.last) if s.what == "ticks" else s.last,
                "count": s.count,
                "reason": s.reason,
                "at": iso(s.at),
            }
            for s in page.skips
        ],
        "owners": [
            {
                "term": o.term,
                "incarnation": o.incarnation,
                "master": o.master,
                "since": iso(o.since),
                "until": iso(o.until),
                "turns": o.turns,
                "why": o.why,
            }
            for o in page.owners
        ],
        "audit": [{"at": iso(e.at), "who": e.who, "action": e.action, "reason": e.reason} for e in page.audit],
    }


def _page(page: SchedulerPage, when: str | None, clock_changes: str) -> None:
    line = page.line
    disabled = "no" + (f": {line.disabled_why}" if line.disabled_why else "")
    fields(
        {
            "name": line.name,
            "kind": line.kind.replace("_", " "),
            "type": line.type,
            **({"fires": when} if when else {}),
            **({"clock changes": clock_changes} if clock_changes else {}),
            "enabled": "yes" if line.enabled else disabled,
            "active on": line.master or "nobody",
            "since": moment(line.active_since if line.held else None),
            "term": line.term,
            "standing by": ", ".join(line.standby) or "nobody",
            "change cursor": line.change_cursor,
            "turns": line.turns,
            "messages waiting": line.messages_waiting,
        }
    )
    for key, value in page.state.items():
        say(f"state {key} = {value if len(value) <= 200 else value[:197] + '...'}")
    for t in page.timers:
        say(f"timer {t.key}: due {moment(t.due)}")
    for f in page.failures:
        say(f"failure {f.cause}: {_retry(f)}: {f.error.splitlines()[-1] if f.error else ''}")
    for s in page.skips:
        first, last = (moment(s.first), moment(s.last)) if s.what == "ticks" else (s.first, s.last)
        say(f"skipped {s.count} {s.what}, {first} to {last}: {s.reason}")
    for o in page.owners:
        say(f"term {o.term}: {o.master or 'nobody'} from {moment(o.since)}: {o.why}")


@scheduler.command("enable")
@click.argument("name")
@kind_option
@reason_option
@database_command
def scheduler_enable(database: Database, name: str, kind: str | None, reason: str) -> None:
    """Let it work again, from now on: what came while it was disabled is not for it."""
    done = written(database, ["schedulers"], orders.enable, name, who(), reason, kind)
    if not done.changed:
        say(f"{done.name} is enabled already")
    else:
        skipped = (
            f"; {counted(done.skipped, 'change')} that came meanwhile {'is' if done.skipped == 1 else 'are'} not for it"
            if done.skipped
            else ""
        )
        say(f"{done.name} is enabled{skipped}")


@scheduler.command("disable")
@click.argument("name")
@kind_option
@reason_option
@database_command
def scheduler_disable(database: Database, name: str, kind: str | None, reason: str) -> None:
    """Stop it, at once and on every master, until it is enabled again."""
    done = written(database, ["schedulers"], orders.disable, name, reason or f"by {who()}", who(), kind)
    if not done.changed:
        say(f"{done.name} is disabled already")
    else:
        answered = f"; {done.answered} waiting messages were answered 'disabled'" if done.answered else ""
        say(f"{done.name} is disabled{answered}")


@scheduler.command("move")
@click.argument("name")
@click.option("--to", "target", metavar="MASTER", help="Where to. Default: the least loaded other one.")
@kind_option
@reason_option
@database_command
def scheduler_move(database: Database, name: str, target: str | None, kind: str | None, reason: str) -> None:
    """Give it to another master that stands by for it."""
    done = database.write(orders.move, name, target, who(), reason, kind)  # repeated, it could go on to a third master
    announce(database, ["schedulers"])
    say(f"{done.name} {'is now' if done.changed else 'was already'} with {done.master}")


@scheduler.command("run-now")
@click.argument("name")
@request_option
@json_option
@database_command
def scheduler_run_now(database: Database, name: str, request_id: str | None, as_json: bool) -> None:
    """A buildset of a timed scheduler now, as at one of its times; its times stay as they are."""
    found = asked(database, name, "run_now", {}, f"scheduler '{name}'", request_id)
    answer = found["answer"]
    text = kept(found, name) if answer is None else f"buildset {answer['buildset']}"
    either(as_json, lambda: found, lambda: say(text))


@scheduler.command("backfill")
@click.argument("name")
@click.argument("begin", metavar="FROM")
@click.argument("end", metavar="TO")
@zone_option
@request_option
@json_option
@database_command
def scheduler_backfill(
    database: Database, name: str, begin: str, end: str, zone_name: str | None, request_id: str | None, as_json: bool
) -> None:
    """A buildset for each of a timed scheduler's times from FROM to TO that has had none.

    They run one after another if its overlap is not 'allow'.
    """
    first, last = span_given(begin, end, zone_name_or_default(zone_name))
    found = asked(database, name, "backfill", {"first": first, "last": last}, f"scheduler '{name}'", request_id)
    answer = found["answer"]
    text = kept(found, name) if answer is None else _backfilled(answer)
    either(as_json, lambda: found, lambda: say(text))


def _backfilled(answer: dict[str, Any]) -> str:
    waiting = f", {answer['waiting']} wait for their turn" if answer["waiting"] else ""
    return f"{len(answer['buildsets'])} buildsets{waiting}; {answer['served_before']} times had one before"


@scheduler.command("failures")
@click.argument("name", required=False)
@click.option("--retry", metavar="CAUSE|all", help="Try it again now.")
@click.option("--discard", metavar="CAUSE|all", help="Forget it: it was set aside, and will never be answered.")
@kind_option
@json_option
@database_command
def scheduler_failures(
    database: Database, name: str | None, retry: str | None, discard: str | None, kind: str | None, as_json: bool
) -> None:
    """What a scheduler's code failed to answer.

    Causes that are being tried again, and those set aside.
    """
    if retry or discard:
        if name is None or (retry and discard):
            raise click.UsageError("Give the scheduler's NAME, and either --retry or --discard.")
        act = orders.retry_failure if retry else orders.discard_failure
        cause = None if (retry or discard) == "all" else (retry or discard)
        causes = written(database, ["schedulers"], act, name, cause, who(), kind)
        done = {"retried" if retry else "discarded": causes}
        none = "nothing" + ("" if retry else ": no cause is set aside; one that is tried again may be once it is")
        either(as_json, lambda: done, lambda: say(f"{next(iter(done))}: {', '.join(causes) or none}"))
        return
    scheduler_id = None if name is None else database.read(naming.find, name, kind).id
    found = database.read(listings.failures, scheduler_id)
    if as_json:
        emit_json([_failure_json(f) for f in found])
        return
    columns = ("scheduler", "cause", "attempts", "first", "last", "next try", "error")
    rows = [
        (f.scheduler, f.cause, f.attempts, moment(f.first_at), moment(f.last_at), _retry(f), _last_line(f.error))
        for f in found
    ]
    table(columns, rows, "no failures")


def _failure_json(f: FailureLine) -> dict[str, Any]:
    return {
        "scheduler": f.scheduler,
        "kind": f.kind,
        "cause": f.cause,
        "attempts": f.attempts,
        "first_at": iso(f.first_at),
        "last_at": iso(f.last_at),
        "retry_at": iso(f.retry_at),
        "set_aside": f.retry_at is None,
        "error": f.error,
    }


def _retry(f: FailureLine) -> str:
    return "set aside" if f.retry_at is None else moment(f.retry_at)


def _last_line(error: str) -> str:
    lines = [line for line in error.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


@click.command()
@reason_option
@json_option
@database_command
def rebalance(database: Database, reason: str, as_json: bool) -> None:
    """Even out who holds how many.

    Moves as few schedulers as possible, among the masters that are up and stand by for them.
    """
    moves = written(database, ["schedulers"], orders.rebalance, who(), reason)
    as_rows = [{"kind": m.kind, "name": m.name, "from": m.source, "to": m.target} for m in moves]
    rows = [(m.name, m.source, m.target) for m in moves]
    either(
        as_json, lambda: as_rows, lambda: table(("scheduler", "from", "to"), rows, "already even: nothing was moved")
    )
