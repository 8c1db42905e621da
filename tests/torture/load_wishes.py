"""People who wish for buildsets: with a form, with a diff of theirs, now instead of later, or for times that are past."""

from __future__ import annotations

import base64
import http.client
import json
import random
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

from locum.db.database import Database
from locum.schedulers.try_jobs import TryJob
from sqlalchemy import text
from sqlalchemy.engine import Connection

from . import configuration
from .asking import Answer, Asker
from .history import OrderAnswered, OrderAsked, now

BACK_S = 90
"""How far back a backfill reaches, at most."""
HTTP_S = 5.0
"""How long a request over HTTP waits for its answer: whom it has come to may be frozen."""
_PATCH = "--- a/README\n+++ b/README\n@@ -1 +1 @@\n-old\n+new\n"
_BASE = "1" * 40
_TRY = ("try-jobdir", "try-userpass")


class Wishes:
    """Each wish has a key by which what came of it is known again: its reason, its job's id, or its message's."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._folder = asker.masters.cluster.folder / configuration.JOBS
        self._files: list[str] = []

    def step(self, by_command: bool) -> Callable[[Database, random.Random], None]:
        """One wish, by the product's functions or by its commands."""

        def step(database: Database, rng: random.Random) -> None:
            kind = rng.choice(("force", "try", "try-file", "try-http", "run_now", "run_now", "backfill"))
            key = f"{kind}-{self._asker.number(kind)}"
            args: dict[str, Any] = {"key": key}
            if kind == "try-file":
                self._put(key)
                return
            if kind == "try-http":
                self._asker.clearly(database, kind, _TRY[1], args, self._by_http)
                return
            if kind == "backfill":
                end = datetime.now(UTC) - timedelta(seconds=rng.randint(0, 20))
                begin = end - timedelta(seconds=rng.randint(1, BACK_S))
                args |= {"first": _us(begin), "last": _us(end), "from": begin.isoformat(), "to": end.isoformat()}
            name = "forced" if kind == "force" else rng.choice(_TRY if kind == "try" else configuration.timed())
            self._asker.clearly(database, kind, name, args, self._by_command if by_command else self._by_function)

        return step

    def unheard(self, conn: Connection) -> list[str]:
        """Jobs that lie in the folder and have no buildset yet."""
        made = set(
            conn.execute(text("SELECT external_id FROM buildsets WHERE external_id LIKE 'try-file-%'")).scalars()
        )
        return [key for key in self._files if key not in made]

    def _by_function(self, database: Database, kind: str, name: str, args: dict[str, Any]) -> Answer:
        key = args["key"]
        if kind == "force":
            body: dict[str, Any] = {"reason": key, "owner": "ann", "form": {"number": ["7"]}}
        elif kind == "try":
            body = _job(key).to_mapping()
        else:
            body = {one: args[one] for one in ("first", "last") if one in args}
        return self._asker.message(database, kind, name, key, body)

    def _by_command(self, database: Database, kind: str, name: str, args: dict[str, Any]) -> Answer:
        key = args["key"]
        if kind == "try":
            words = ["try", name, "--patch", "-", "--base", _BASE, "--request-id", key]
            return self._asker.request(*words, given=_PATCH)
        words = {
            "force": ["force", name, "--param", "number=7", "--reason", key],
            "run_now": ["scheduler", "run-now", name],
            "backfill": ["scheduler", "backfill", name, args.get("from", ""), args.get("to", "")],
        }[kind]
        return self._asker.request(*words, "--request-id", key)

    def _by_http(self, database: Database, kind: str, name: str, args: dict[str, Any]) -> Answer:
        """To whoever listens: nobody may, or one who wakes up and is not it any more."""
        user = base64.b64encode(f"{configuration.USER}:{configuration.PASSWORD}".encode()).decode()
        sent = json.dumps(_job(args["key"]).to_mapping())
        with closing(http.client.HTTPConnection("127.0.0.1", self._asker.masters.port, timeout=HTTP_S)) as connection:
            try:
                connection.request("POST", "/", sent, {"Authorization": f"Basic {user}"})
                answer = connection.getresponse()
                said = answer.read().decode()
            except (OSError, http.client.HTTPException) as error:
                return "unknown", repr(error), {}
        if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
            return "unknown", said, {}
        if answer.status != HTTPStatus.CREATED:
            self._asker.troubles.append(f"POST of {args['key']}: {answer.status} {said}")
            return "no", said, {}
        return "yes", said, json.loads(said)

    def _put(self, key: str) -> None:
        """A job's file, there as a whole or not at all, as a mailer would put it there."""
        truth, order = self._asker.truth, f"order-{self._asker.number('order')}"
        truth.add(OrderAsked(now(), order, "try-file", "try-jobdir", {"key": key}))
        for part in ("tmp", "new"):
            (self._folder / part).mkdir(parents=True, exist_ok=True)
        path = self._folder / "tmp" / f"{key}.json"
        path.write_text(json.dumps(_job(key).to_mapping()))
        path.rename(self._folder / "new" / path.name)
        self._files.append(key)
        truth.add(OrderAnswered(now(), order, "yes", "", {}))


def _job(key: str) -> TryJob:
    return TryJob(jobid=key, branch="main", baserev=_BASE, patch=_PATCH.encode(), who="ann", comment=f"job {key}")


def _us(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6)
