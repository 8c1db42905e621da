"""More of a run in which nothing is wrong: schedulers that react to others, to tasks and to people, and stored schedules.

As in ``checker_story``, whose means it uses; a shorter run, with one master.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from . import checker_rows as rows
from .checker_rows import Histories
from .checker_story import T0, Story, at
from .history import (
    ChangeAnswered,
    ChangeAsked,
    Configured,
    MasterBegan,
    MasterEnded,
    OrderAnswered,
    OrderAsked,
    Phase,
    Seen,
)

STOPPING = 200.0
ENTRIES: dict[str, dict[str, Any]] = {
    "quick": {"type": "SingleBranchScheduler", "branch": "main", "builderNames": ["long"]},
    "dependent": {"type": "Dependent", "upstream": "quick"},
    "triggered": {"type": "Triggerable"},
    "nightly-triggered": {"type": "NightlyTriggerable", "minute": "*"},
    "starter": {"type": "SingleBranchScheduler", "branch": "three", "builderNames": ["trigger-wait"]},
    "forced": {"type": "ForceScheduler"},
    "try": {"type": "Try_Jobdir", "jobdir": "jobs"},
    "try-http": {"type": "Try_Userpass", "port": 20_000},
    "relay": {"type": "plugin.Relaying", "branch": "rare"},
    "changed": {
        "type": "Periodic",
        "periodicBuildTimer": 20,
        "onlyIfChanged": True,
        "branch": "main",
        "catch_up": "all",
    },
    "skip": {"type": "Periodic", "periodicBuildTimer": 10, "overlap": "skip", "catch_up": "all"},
    "queue": {"type": "Periodic", "periodicBuildTimer": 10, "overlap": "queue", "catch_up": "all"},
    "replace": {"type": "Periodic", "periodicBuildTimer": 10, "overlap": "replace", "catch_up": "all"},
    "failing": {"type": "SingleBranchScheduler", "branch": "three", "builderNames": ["bad", "long"]},
    "collapsing": {"type": "SingleBranchScheduler", "branch": "main", "builderNames": ["few"]},
    "cancel-old": {"type": "OldBuildCanceller", "filters": [{"builders": ["long"], "filter": {"branch_eq": ["main"]}}]},
    "cancel-useless": {
        "type": "FailingBuildsetCanceller",
        "filters": [{"builders": ["bad"], "builders_to_cancel": ["long"]}],
    },
    "calendar": {},
}
ID = {name: number for number, name in enumerate(ENTRIES, 1)}
BUILDERS = {"unit": 1, "long": 2, "bad": 3, "few": 4, "trigger-wait": 5}
MASTER = "inc-1"
SCHEDULE = 7


class Family(Story):
    """Its buildsets may take their time, or be cancelled."""

    def built(self, name: str, when: float, took: float, changes: tuple[int, ...] = (), **fields: Any) -> int:
        """A buildset of one task of ``builder`` that ends after ``took`` as ``result``."""
        builder, why = fields.pop("builder", "unit"), fields.pop("why", "")
        result, attempt = fields.pop("result", "success"), fields.pop("attempt", 1)
        number = self.buildset(ID[name], when, changes, **fields)
        tables = self.tables
        ended = {"success": "executed", "failure": "failed"}.get(result, "cancelled")
        began = at(when + 0.1) if attempt else None
        tables["buildsets"][-1] = _with(tables["buildsets"][-1], result=result, completed_at=at(when + took))
        tables["tasks"][-1] = rows.Task(
            number, number, BUILDERS[builder], ended, result, attempt, at(when), began, at(when + took), why
        )
        self.lines[-1] = f"{number} {builder} {at(when + 0.15) * 1000}"
        if not attempt:
            del self.lines[-1], tables["steps"][-1]
        return number

    def message(self, name: str, key: str, kind: str, when: float, answer: dict[str, Any]) -> None:
        number = len(self.tables["messages"]) + 1
        self.add("messages", rows.Message(number, ID[name], key, at(when - 0.1), at(when), json.dumps(answer), kind))

    def ask(self, action: str, name: str, when: float, args: dict[str, Any], detail: dict[str, Any]) -> None:
        """An order, and its answer."""
        order = f"o{len(self.truth)}"
        self.tell(OrderAsked(when - 0.2, order, action, name, args))
        self.tell(OrderAnswered(when + 0.2, order, "yes", "", detail))


def right() -> Histories:
    """A run in which nothing is wrong."""
    story = Family()
    _ground(story)
    for name in ENTRIES:
        consumes = "change_start" if name not in ("dependent", "cancel-useless") else "finished_start"
        cursor = consumes.replace("start", "cursor")
        number = story.scheduler(name, **{consumes: 0, cursor: 10_000})
        story.owner(number, MASTER, 1)
        story.turn(number)
    _of_changes(story)
    _of_tasks(story)
    _of_people(story)
    _of_times(story)
    _stored(story)
    _look(story, STOPPING - 1, 6)
    order = {b.id: n for n, b in enumerate(sorted(story.tables["buildsets"], key=lambda b: b.completed_at), 1)}
    story.tables["buildsets"] = [_with(b, finished_number=order[b.id]) for b in story.tables["buildsets"]]
    for number in ID.values():
        story.owner(number, None, STOPPING + 1, "it was stopped")
    story.truth.sort(key=lambda event: event.at)
    return story.histories()


def _with(row: Any, **fields: Any) -> Any:
    from dataclasses import replace

    return replace(row, **fields)


def _ground(story: Family) -> None:
    story.add("masters", rows.Master(MASTER, "m1", "stopped", 11, at(STOPPING + 5), at(0), at(STOPPING + 4), "stopped"))
    story.tables["builders"] += [
        rows.Builder(n, name, 1 if name == "few" else None, "requeue") for name, n in BUILDERS.items()
    ]
    entries = {name: {"name": name, "builderNames": ["unit"], **e} for name, e in ENTRIES.items() if name != "calendar"}
    builders = {name: {"collapse_requests": name == "few"} for name in BUILDERS}
    story.tell(Configured(-1, "m1", 0, entries, builders))
    for when, phase in ((0, "calm"), (5, "load"), (150, "quiet"), (STOPPING, "stopping"), (STOPPING + 6, "stopped")):
        story.tell(Phase(when, phase))
    story.tell(MasterBegan(0, "m1", 11))
    story.tell(MasterEnded(STOPPING + 5, "m1", 11, 0))


_CAME = {
    1: (10.0, "main"),
    2: (30.0, "main"),
    3: (31.0, "main"),
    4: (50.0, "three"),
    5: (70.0, "rare"),
    6: (70.1, "relayed"),
}


def _of_changes(story: Family) -> None:
    for number, (when, branch) in _CAME.items():
        request = "relay-5" if branch == "relayed" else f"ann-{number}"
        story.add("changes", rows.Change(number, request, at(when), branch, "code", "[]", f"r{number}"))
        if branch != "relayed":
            story.tell(ChangeAsked(when - 0.1, request, "ann", {"branch": branch, "revision": f"r{number}"}))
            story.tell(ChangeAnswered(when + 0.1, request, "yes", number))
    # The third change cancels what builds the second; the first is done by then.
    story.built("quick", 10.1, 4, (1,), builder="long")
    story.built(
        "quick",
        30.1,
        2,
        (2,),
        builder="long",
        result="cancelled",
        why="cancel-old: change 3 of the same branch is newer",
    )
    story.built("quick", 31.1, 4, (3,), builder="long")
    story.built("dependent", 14.3, 0.2, (1,))
    story.built("dependent", 35.3, 0.2, (3,))
    # Of the second and the third, which wait together, the newer one runs.
    story.built("collapsing", 10.2, 3, (1,), builder="few")
    waits = story.built("collapsing", 30.2, 1.2, (2,), builder="few", result="skipped", attempt=0)
    runs = story.built("collapsing", 31.2, 3, (3,), builder="few")
    story.tables["tasks"] = [
        _with(t, status_line=f"collapsed into task {runs}") if t.id == waits else t for t in story.tables["tasks"]
    ]
    relayed = story.built("relay", 70.1, 0.2, (5,), reason="number 1")
    assert relayed
    story.state(ID["relay"], "count", 1)


def _of_tasks(story: Family) -> None:
    task = story.built("starter", 50.1, 5, (4,), builder="trigger-wait")
    triggered = story.built("triggered", 50.5, 2)
    story.message("triggered", f"trigger:{task}:1:1", "trigger", 50.5, {"buildset": triggered, "tasks": {}})
    story.message("nightly-triggered", f"trigger:{task}:1:1", "trigger", 50.6, {"buildset": None, "tasks": {}})
    # The useless one of two tasks is cancelled when the other fails.
    failed = story.built("failing", 50.2, 0.5, (4,), builder="bad", result="failure")
    other = failed + 10_000
    why = f"cancel-useless: task {failed} of bad failed"
    long = rows.Task(other, failed, BUILDERS["long"], "cancelled", "cancelled", 1, at(50.2), at(50.4), at(51), why)
    story.add("tasks", long)
    story.lines.append(f"{other} long {at(50.5) * 1000}")
    story.tables["buildsets"][-1] = _with(story.tables["buildsets"][-1], result="cancelled", completed_at=at(51))
    _look(story, 40, 3)


def _look(story: Family, when: float, change_cursor: int, finished_cursor: int = 0) -> None:
    """Somebody looks, and sees all at the same place."""
    seen = {name: _seen(story, name, change_cursor, finished_cursor) for name in ENTRIES}
    story.tell(Seen(when, T0 + when + 0.01, seen))


def _seen(story: Family, name: str, change_cursor: int, finished_cursor: int) -> dict[str, Any]:
    owner = story._owner[ID[name]]
    return {
        "enabled": True, "incarnation": owner.incarnation, "term": owner.term, "turns": story._turns[ID[name]],
        "change_cursor": change_cursor, "finished_cursor": finished_cursor, "state": {},
    }  # fmt: skip


def _of_people(story: Family) -> None:
    forced = story.built("forced", 80, 0.2, reason="force-1")
    answer = {"buildset": forced, "tasks": {"unit": forced}}
    story.message("forced", "force-1", "force", 80, answer)
    story.ask("force", "forced", 80, {"key": "force-1"}, answer)
    job = story.built("try", 81, 0.2, external_id="try-1")
    answer = {"buildset": job, "tasks": {"unit": job}}
    story.message("try", "try-1", "try", 81, answer)
    story.ask("try", "try", 81, {"key": "try-1"}, answer)
    story.ask("try-file", "try", 82, {"key": "try-file-1"}, {})
    story.built("try", 83, 0.2, external_id="try-file-1")
    job = story.built("try-http", 84, 0.2, external_id="try-http-1")
    story.ask("try-http", "try-http", 84, {"key": "try-http-1"}, {"buildset": job, "tasks": {"unit": job}})


def _of_times(story: Family) -> None:
    # Minutes of T0, which is a whole one: handed over at 50.6, so served at 60, and not at 120 and 180.
    story.built("nightly-triggered", 60.1, 0.2, due_at=at(60))
    for when in (120, 180):
        story.skip(ID["nightly-triggered"], "ticks", at(when), at(when), 1, "nothing was triggered since the last time", when + 0.1, story.turn(ID["nightly-triggered"]))  # fmt: skip
    calendar: Any = ["nightly", {"minute": "*"}, "UTC"]
    story.state(ID["nightly-triggered"], "ticks", {"rule": calendar, "anchor": at(1), "examined": at(190)})
    _changed(story)
    _overlapping(story)


def _changed(story: Family) -> None:
    number = ID["changed"]
    story.built("changed", 2.1, 0.2, due_at=at(2))
    story.built("changed", 22.1, 0.2, (1,), due_at=at(22))
    story.built("changed", 42.1, 0.2, (2, 3), due_at=at(42))
    nothing = "onlyIfChanged: nothing important has changed"
    for when in range(62, 200, 20):
        story.skip(number, "ticks", at(when), at(when), 1, nothing, when + 0.1, story.turn(number))
        _look(story, when + 5, 6)
    _ticks(story, "changed", 20, 182)


def _ticks(story: Family, name: str, period: int, last: int) -> None:
    ticks = {"rule": ["periodic", period * 1_000_000], "anchor": at(2), "examined": at(last) + 1}
    story.state(ID[name], "ticks", ticks)
    story.add("timers", rows.Timer(ID[name], "tick", at(last + period)))


def _overlapping(story: Family) -> None:
    """The run of 22 takes until 45; what comes due meanwhile is skipped, waits, or takes its place."""
    unfinished, waits = "overlap skip: the run before it was unfinished", "overlap queue: one is waiting already"
    replaced = "overlap replace: a newer one came before it had started"
    for name in ("skip", "queue", "replace"):
        for when in range(2, 200, 10):
            long = 23.0 if when == 22 else 1.0
            if name == "replace" and when == 22:
                story.built(name, 22.1, 10.5, due_at=at(22), result="cancelled", why=replaced)
                continue
            if when == 32 and name == "queue":
                story.turn(ID[name])
                continue  # it waits, and starts at 45.2
            if when == 42 and name == "queue":
                story.skip(ID[name], "ticks", at(42), at(42), 1, waits, 42.1, story.turn(ID[name]))
                story.built(name, 45.2, 1, due_at=at(32))
                continue
            if when in (32, 42) and name == "skip":
                story.skip(ID[name], "ticks", at(when), at(when), 1, unfinished, when + 0.1, story.turn(ID[name]))
                continue
            if when == 32 and name == "replace":
                story.skip(ID[name], "ticks", at(when), at(when), 1, replaced, 42.1, story.turn(ID[name]))
                continue
            story.built(name, when + 0.1, long, due_at=at(when))
        story.state(ID[name], "runs", {"running": [], "waiting": []})
        _ticks(story, name, 10, 192)
    # Somebody asks for one that was skipped; and for one more, at no due time.
    late = story.built("skip", 193.5, 0.5, due_at=at(32))
    answer: dict[str, Any] = {"buildsets": [late], "waiting": 0, "served_before": 0}
    story.message("skip", "backfill-1", "backfill", 193.5, answer)
    story.ask("backfill", "skip", 193.5, {"key": "backfill-1", "first": at(30), "last": at(33)}, answer)
    once_more = story.built("skip", 194.5, 0.5)
    story.message("skip", "run_now-1", "run_now", 194.5, {"buildset": once_more})
    story.ask("run_now", "skip", 194.5, {"key": "run_now-1"}, {"buildset": once_more})


def _stored(story: Family) -> None:
    """Every 10 s from 0 on, made at 20.5, paused from 62 to 85, removed at 145; one more that stays."""
    begin = datetime.fromtimestamp(T0, UTC).isoformat()
    args = {"start": begin, "seconds": 10, "catch_up": "one", "limit": 100, "overlap": "skip", "builder": "unit"}
    name = "stored 1"
    story.ask("schedule-add", name, 20.5, args, {"id": SCHEDULE})
    for when in range(30, 140, 10):
        if when in (70, 80):
            continue
        _execution(story, SCHEDULE, when, when + 0.1)
    story.ask("schedule-pause", name, 62, {"id": SCHEDULE}, {})
    story.ask("schedule-resume", name, 85, {"id": SCHEDULE}, {})
    newest = "catch_up one: only the newest of the times that came due together is served"
    story.add("schedule_skips", rows.ScheduleSkip(SCHEDULE, at(70), at(70), 1, newest, at(85.3)))
    _execution(story, SCHEDULE, 80, 85.3)
    unfinished = "overlap skip: the run before it was unfinished"
    long = _execution(story, SCHEDULE, None, 132, "run now", 20.0)
    story.message("calendar", "stored-run_now-1", "run_now", 132, {"execution": long})
    story.ask("schedule-run_now", name, 132, {"key": "stored-run_now-1", "id": SCHEDULE}, {"execution": long})
    story.add("schedule_skips", rows.ScheduleSkip(SCHEDULE, at(140), at(140), 1, unfinished, at(140.1)))
    story.ask("schedule-remove", name, 145, {"id": SCHEDULE}, {})
    story.ask("schedule-add", "stored 2", 20.5, {**args, "seconds": 30, "overlap": "replace"}, {"id": SCHEDULE + 1})
    for when in (30, 60, 90, 120, 150, 180):
        _execution(story, SCHEDULE + 1, when, when + 0.1)
    story.add("schedules", rows.Schedule(SCHEDULE + 1, "stored 2", False, at(20.5), at(190), at(210)))


def _execution(
    story: Family, schedule: int, due: float | None, when: float, cause: str = "due", took: float = 0.5
) -> int:
    number = story.built("calendar", when, took)
    due_at = None if due is None else at(due)
    ended = at(when + took + 0.1)
    story.add(
        "executions",
        rows.Execution(number, schedule, due_at, cause, "finished", "success", "", at(when), at(when), ended),
    )
    return number
