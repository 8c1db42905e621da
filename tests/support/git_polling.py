"""A git repository in the hands of a test, and the little of a master that a git poller needs, in memory."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from locum.master.changes import validated
from locum.master.sources.git import GitPoller
from locum.master.surroundings import Surroundings
from locum.schedulers.interface import NotActive, away
from locum.tests.support.reactors import until
from twisted.internet.defer import Deferred, succeed
from twisted.logger import formatEvent, globalLogPublisher

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    **{f"GIT_{who}_{what}": v for who in ("AUTHOR", "COMMITTER") for what, v in (("NAME", "Ada"), ("EMAIL", "a@b.c"))},
}


class Origin:
    """A repository with a work tree; ``url`` is its path."""

    def __init__(self, path: Path, *init: str) -> None:
        self.path = path
        path.mkdir(parents=True)
        self.git("init", "-q", "-b", "main", *init)

    @property
    def url(self) -> str:
        return str(self.path)

    def git(self, *arguments: str, given: bytes = b"", **environment: str) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.path,
            env={**ENVIRONMENT, **environment},
            input=given,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode("utf-8", "replace").strip()

    def commit(self, text: str = "a commit", **files: str) -> str:
        """A commit on the branch that is checked out; without files, an empty one. Its name."""
        for name, content in files.items():
            (self.path / name).write_text(content)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-F", "-", given=text.encode())
        return self.git("rev-parse", "HEAD")

    def many(self, count: int, branch: str = "main") -> list[str]:
        """A row of commits, made at once."""
        start = self.git("rev-parse", branch)
        lines = []
        for number in range(count):
            text = f"number {number}"
            lines.append(f"commit refs/heads/{branch}\ncommitter A <a@b.c> {1_700_000_000 + number} +0000\n")
            lines.append(f"data {len(text)}\n{text}\n")
            if number == 0:
                lines.append(f"from {start}\n")
            lines.append(f"M 644 inline f\ndata {len(text)}\n{text}\n\n")
        self.git("fast-import", "--quiet", "--force", given="".join(lines).encode())
        self.git("reset", "-q", "--hard")
        return self.git("rev-list", "--reverse", f"{start}..{branch}").split()


class Master:
    """The part of ``MasterInterface`` that a change source uses. What it keeps outlives the poller: another may go on.

    ``turns`` are the committed ones' changes; ``allow`` how many more may commit before the poller loses its seat.
    """

    def __init__(self) -> None:
        self.state: dict[str, str] = {}
        self.changes: dict[str, Any] = {}
        self.turns: list[list[str]] = []
        self.repeated: list[str] = []
        self.allow = float("inf")
        self.before_turn: Callable[[], Any] = lambda: None

    def kept(self, key: str) -> Any:
        return json.loads(self.state[key]) if key in self.state else None

    @property
    def revisions(self) -> list[str]:
        return [change.revision for change in self.changes.values()]


class MasterSeat:
    """One poller's access to it."""

    def __init__(self, master: Master) -> None:
        self.master = master
        self.open = True
        self._state: dict[str, str] | None = None
        self._added: list[Any] = []

    def _there(self) -> Master:
        if not self.open:
            raise NotActive("closed")
        return self.master

    def now(self) -> int:
        return time.time_ns() // 1000

    def get_state(self, key: str) -> str | None:
        return {**self._there().state, **(self._state or {})}.get(key)

    def set_state(self, key: str, value_json: str) -> Deferred[None]:
        if self._state is not None:
            self._state[key] = value_json
            return succeed(None)

        async def own() -> None:
            async with self.turn():
                self.set_state(key, value_json)

        return Deferred.fromCoroutine(own())

    def add_change(self, fields: Any, request_id: str) -> Deferred[None]:
        change = validated({**fields, "request_id": request_id})
        assert self._state is not None, "outside of a turn"
        self._added.append(change)
        return succeed(None)

    @contextlib.asynccontextmanager
    async def turn(self) -> Any:
        master = self._there()
        assert self._state is None, "two turns at once"
        self._state, self._added = {}, []
        try:
            yield
            state, added = self._state, self._added
        finally:
            self._state = None
        master.before_turn()
        if not self.open or master.allow < 1:
            self.open = False
            raise NotActive("not committed")
        master.allow -= 1
        master.state.update(state)
        for change in added:
            if change.request_id in master.changes:
                master.repeated.append(change.request_id)
            master.changes.setdefault(change.request_id, change)
        master.turns.append([change.revision for change in added])


class Polling:
    """A poller that is active: ``async with``; ``polled()`` waits for a whole poll that began after the call."""

    def __init__(
        self, surroundings: Surroundings, workdir: Path, master: Master, repository: Any, **arguments: Any
    ) -> None:
        arguments = {"poll_interval": 60, **arguments}
        self.surroundings = surroundings
        self.poller = GitPoller("app", repository, **arguments)
        self.poller.equip(surroundings, workdir)
        self.seat = MasterSeat(master)
        self.master = master
        self.polls = 0
        self.overlapping = 0
        self._running = 0
        self._poll = self.poller.poll
        self.poller.poll = self._counted  # type: ignore[method-assign]

    async def _counted(self) -> Any:
        self._running += 1
        self.overlapping = max(self.overlapping, self._running)
        try:
            return await self._poll()
        finally:
            self._running -= 1
            self.polls += 1

    async def __aenter__(self) -> Polling:
        self.poller.master = self.seat
        await self.poller.activate()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.seat.open = False
        await self.poller.deactivate()
        self.poller.master = away("app")
        assert self._running == 0

    async def polled(self, bound_s: float = 20.0) -> None:
        """Wait for a whole poll that begins now."""
        loop = self.poller._loop
        assert loop is not None
        await until(self.surroundings, lambda: not loop._running, "the end of a poll", bound_s)
        seen = self.polls
        loop.soon()
        await until(self.surroundings, lambda: self.polls > seen and not loop._running, "a whole poll", bound_s)


@contextlib.contextmanager
def logged() -> Any:
    """A list that takes in what is logged meanwhile: (level, text)."""
    lines: list[tuple[str, str]] = []

    def observe(event: Any) -> None:
        lines.append((event["log_level"].name, formatEvent(event) + str(event.get("log_failure", ""))))

    globalLogPublisher.addObserver(observe)
    try:
        yield lines
    finally:
        globalLogPublisher.removeObserver(observe)
