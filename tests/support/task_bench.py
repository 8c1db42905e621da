"""Runners on a real reactor and a real database, and what tests ask of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from locum.config.builders import BuilderSection, StepSection
from locum.config.sections import TasksSection
from locum.db import task_views
from locum.db.database import Database
from locum.master.surroundings import RemoteDatabase, Surroundings
from locum.master.tasks.runner import TaskRunner
from locum.tests.support import reactors
from locum.tests.support.cluster_rows import builder, buildset, execute, join


def shell(command: Sequence[str] | str, **keys: Any) -> StepSection:
    """A shell step, as the configuration would make it."""
    return StepSection(
        "shell", keys.pop("name", "run"), command=command if isinstance(command, str) else tuple(command), **keys
    )


def git(**keys: Any) -> StepSection:
    """A git step."""
    return StepSection("git", keys.pop("name", "git"), **keys)


def section(name: str, *steps: StepSection, **keys: Any) -> BuilderSection:
    """A builder."""
    return BuilderSection(name, tuple(steps), **keys)


class Bench:
    """A runner named ``incarnation`` for some builders, already started."""

    def __init__(
        self,
        db: Database,
        surroundings: Surroundings,
        folder: Path,
        *sections: BuilderSection,
        incarnation: str = "me",
        joined: bool = False,
        inherited: dict[str, str] | None = None,
        **settings: Any,
    ) -> None:
        self.db, self.surroundings = db, surroundings
        if not joined:
            join(db, incarnation)
        self.ids = {s.name: builder(db, s.name, s.max_parallel, s.on_lost) for s in sections}
        self.announced: list[str] = []
        self.runner = TaskRunner(
            RemoteDatabase(db, surroundings),
            incarnation,
            {s.name: s for s in sections},
            self.ids,
            TasksSection(**settings),
            folder,
            surroundings,
            lambda *topics: self.announced.extend(topics),
            inherited if inherited is not None else {k: os.environ[k] for k in ("PATH", "HOME") if k in os.environ},
        )
        self.runner.start()

    def submit(self, *names: str, **keys: Any) -> list[int]:
        """A buildset for these builders; its tasks' ids."""
        tasks = buildset(self.db, [self.ids[n] for n in names or tuple(self.ids)], **keys)[1]
        self.runner.wake()
        return tasks

    async def until(self, true: Any, what: str) -> Any:
        """Wait for something."""
        return await reactors.until(self.surroundings, true, what)

    async def ended(self, *tasks: int) -> list[task_views.ShownTask]:
        """The tasks, once all of them have come to rest."""
        await self.until(lambda: all(shown(self.db, t).task.finished_at for t in tasks), f"tasks {tasks} end")
        return [shown(self.db, t) for t in tasks]

    async def log_has(self, task: int, text: str) -> None:
        """Wait until the log in the database holds ``text``."""
        await self.until(lambda: text in log_of(self.db, task), f"{text!r} in the log of task {task}")


def shown(db: Database, task: int) -> task_views.ShownTask:
    """A task that is there."""
    found = db.read(task_views.show, task)
    assert found is not None
    return found


def log_of(db: Database, task: int, attempt: int | None = None, step: int | None = None) -> str:
    """The whole output, of the newest attempt unless another is asked for."""
    rows = execute(
        db,
        "SELECT attempt, step, text FROM log_chunks WHERE task_id = :t ORDER BY attempt, step, sequence",
        t=task,
    )
    wanted = attempt if attempt is not None else max((r.attempt for r in rows), default=0)
    return "".join(r.text for r in rows if r.attempt == wanted and step in (None, r.step))
