"""A person who makes stored schedules, and pauses, resumes, runs and removes them again."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from locum.db import schedules
from locum.db.database import Database
from locum.db.errors import DatabaseError
from locum.db.naming import NotFound, Refused
from locum.master.schedules import Plan, Schedules, StartBuildset
from locum.schedulers.calendar import CALENDAR
from locum.schedulers.overlap import OVERLAPS
from locum.schedulers.recurrence import ScheduleInterval

from .asking import WHO, Answer, Asker

MOST = 6
"""schedules at a time"""
WHOLE_S = 30.0
_POLICIES = (("all", 1000), ("one", 100), ("none", 100), ("all", 2))


@dataclass(slots=True)
class _Stored:
    """As far as its maker knows."""

    id: int
    name: str
    paused: bool


class Stored:
    """One thread's: nobody else touches these schedules."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._there: list[_Stored] = []

    def step(self, database: Database, rng: random.Random) -> None:
        """One deed."""
        by = self._by_command if rng.random() < 0.2 else self._by_function
        if len(self._there) < rng.randint(2, MOST):
            self._add(database, rng, by)
            return
        one = rng.choice(self._there)
        action = rng.choice(("toggle", "toggle", "run_now", "run_now", "backfill", "remove"))
        if action == "toggle":
            self._toggle(database, one, by)
        elif action == "remove":
            if self._ask(database, "remove", one, {}, by) == "yes":
                self._there.remove(one)
        else:
            args: dict[str, Any] = {"key": f"stored-{action}-{self._asker.number('stored')}"}
            if action == "backfill":
                end = datetime.now(UTC) - timedelta(seconds=rng.randint(0, 10))
                begin = end - timedelta(seconds=rng.randint(1, 40))
                args |= {"from": begin.isoformat(), "to": end.isoformat(), "first": _us(begin), "last": _us(end)}
            self._ask(database, action, one, args, by)

    def make_whole(self, database: Database) -> None:
        """Let all of them fire again."""
        for one in [one for one in self._there if one.paused]:
            self._asker.until(lambda one=one: self._toggle(database, one, self._by_function), WHOLE_S)  # type: ignore[misc]

    def _toggle(self, database: Database, one: _Stored, by: Callable[..., Answer]) -> bool:
        if self._ask(database, "resume" if one.paused else "pause", one, {}, by) != "yes":
            return False
        one.paused = not one.paused
        return True

    def _add(self, database: Database, rng: random.Random, by: Callable[..., Answer]) -> None:
        name = f"stored {self._asker.number('stored schedule')}"
        catch_up, limit = rng.choice(_POLICIES)
        start = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=rng.randint(0, 60))
        args = {
            "start": start.isoformat(),
            "seconds": rng.randint(4, 20),
            "catch_up": catch_up,
            "limit": limit,
            "overlap": rng.choice(OVERLAPS),
            "builder": rng.choice(("again", "once", "slow")),
        }
        outcome, _, detail = self._asker.clearly(database, "schedule-add", name, args, by)
        if outcome == "yes":
            self._there.append(_Stored(detail["id"], name, False))
        elif outcome == "no":
            self._asker.troubles.append(f"schedule add of {name} {args} was refused")

    def _ask(
        self, database: Database, action: str, one: _Stored, args: dict[str, Any], by: Callable[..., Answer]
    ) -> str:
        return self._asker.clearly(database, f"schedule-{action}", one.name, {**args, "id": one.id}, by)[0]

    # -- ways ---------------------------------------------------------------------------------------------------------

    def _by_function(self, database: Database, action: str, name: str, args: dict[str, Any]) -> Answer:
        api = Schedules(database, WHO)
        try:
            match action:
                case "schedule-add":
                    return "yes", "", {"id": self._added(api, database, name, args)}
                case "schedule-pause":
                    return "yes", str(api.pause(args["id"], "torture")), {}
                case "schedule-resume":
                    return "yes", str(api.resume(args["id"], "torture")), {}
                case "schedule-remove":
                    api.unschedule(args["id"])
                    return "yes", "", {}
        except NotFound as error:  # a removal that was repeated
            return ("yes" if action == "schedule-remove" else "no"), str(error), {}
        except Refused as error:  # of a new one: an attempt before has taken the name, and nobody heard of it
            return ("unknown" if action == "schedule-add" else "no"), str(error), {}
        except DatabaseError as error:
            return "unknown", str(error), {}
        body = {"schedule": args["id"]} | {one: args[one] for one in ("first", "last") if one in args}
        return self._asker.message(database, action.removeprefix("schedule-"), CALENDAR, args["key"], body)

    def _added(self, api: Schedules, database: Database, name: str, args: dict[str, Any]) -> int:
        try:
            return database.read(schedules.find, name).id
        except NotFound:
            pass
        rule = ScheduleInterval(datetime.fromisoformat(args["start"]), None, args["seconds"], "seconds")
        policy = {"catch_up": args["catch_up"], "catch_up_limit": args["limit"], "overlap": args["overlap"]}
        (made,) = api.replace((), [Plan(rule, StartBuildset((args["builder"],)), name, **policy)])
        return made

    def _by_command(self, database: Database, action: str, name: str, args: dict[str, Any]) -> Answer:
        if action == "schedule-add":
            return self._added_by_command(name, args)
        verb = action.removeprefix("schedule-").replace("_", "-")
        if "key" not in args:
            outcome, said = self._asker.command("schedule", verb, name)
            if outcome == "no" and verb == "remove" and "there is no schedule" in said:
                outcome = "yes"
            return outcome, said, {}
        times = [args["from"], args["to"]] if verb == "backfill" else []
        return self._asker.request("schedule", verb, name, *times, "--request-id", args["key"])

    def _added_by_command(self, name: str, args: dict[str, Any]) -> Answer:
        words = ["schedule", "add", "--name", name, "--builder", args["builder"], "--every", f"{args['seconds']}s"]
        words += ["--start", args["start"], "--catch-up", args["catch_up"], "--catch-up-limit", str(args["limit"])]
        outcome, said = self._asker.command(*words, "--overlap", args["overlap"], "--json")
        if outcome == "no" and "there is a schedule named" in said:
            outcome, said = self._asker.command("schedule", "show", name, "--json")
        if outcome != "yes":
            return outcome, said, {}
        return "yes", said, {"id": json.loads(said[: said.rindex("}") + 1])["id"]}


def _us(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6)
