"""What code written for Buildbot may ask for and does not find here: it is told so, and what to use instead."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

ROOT = __name__.rpartition(".")[0]
_PAGE = "docs/from-buildbot.md lists what there is"
_TASKS = "what tasks do is written in the YAML, under 'builders:' (docs/tasks.md)"
_OUTSIDE = "builders, steps and reporters stay outside of a scheduler's code"

INSTEAD: Mapping[str, str] = {
    "steps": _TASKS,
    "process.factory": _TASKS,
    "process.buildstep.BuildStep": _TASKS,
    "process.buildstep.ShellMixin": _TASKS,
    "process.build": _TASKS,
    "process.builder": _TASKS,
    "util.BuildFactory": _TASKS,
    "util.BuilderConfig": _TASKS,
    "config.BuilderConfig": _TASKS,
    "plugins.steps": _TASKS,
    "plugins.worker": "there are no workers: masters carry tasks out themselves (docs/tasks.md)",
    "worker": "there are no workers: masters carry tasks out themselves (docs/tasks.md)",
    "buildslave": "there are no workers: masters carry tasks out themselves (docs/tasks.md)",
    "plugins.reporters": "let a task tell others, with its id as the key (docs/writing-schedulers.md, 'Effects outside')",
    "reporters": "let a task tell others, with its id as the key (docs/writing-schedulers.md, 'Effects outside')",
    "plugins.secrets": "write {secret: {env: NAME}} or {secret: {file: PATH}} in the YAML (docs/configuration.md)",
    "secrets": "write {secret: {env: NAME}} or {secret: {file: PATH}} in the YAML (docs/configuration.md)",
    "www": _OUTSIDE,
    "plugins.www": _OUTSIDE,
    "locks": "'max_parallel' of a builder holds in the whole cluster (docs/tasks.md)",
    "db": "self.master.db has what schedulers use of it; nobody else's database is reached from here",
    "mq": "self.master.mq has startConsuming",
    "sourcestamp": "since Buildbot 0.9 a source stamp is a mapping with codebase, repository, branch, revision, project",
    "changes.gitpoller": "write a GitPoller under 'change_sources:' in the YAML (docs/changes.md)",
    "plugins.changes.GitPoller": "write it under 'change_sources:' in the YAML (docs/changes.md)",
    "changes.base": "a change source is a program that calls 'locum change add --json -' (docs/changes.md)",
    "changes.hgpoller": "a change source is a program that calls 'locum change add --json -' (docs/changes.md)",
    "changes.svnpoller": "a change source is a program that calls 'locum change add --json -' (docs/changes.md)",
    "changes.pb": "a change source is a program that calls 'locum change add --json -' (docs/changes.md)",
    "schedulers.trysched.Try_Jobdir": "its name is written in the YAML: 'type: Try_Jobdir'",
    "schedulers.trysched.Try_Userpass": "its name is written in the YAML: 'type: Try_Userpass'",
    "test": "locum.schedulers.testing has a harness for schedulers (docs/writing-schedulers.md)",
}
"""What to use instead of a name, or of what is below it."""


def sentence(name: str) -> str:
    """Why there is no such name below ``locum.schedulers.compat``."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        instead = INSTEAD.get(".".join(parts[:length]))
        if instead is not None:
            return f"buildbot.{name} has no counterpart in {ROOT}: {instead}"
    return f"buildbot.{name} has no counterpart in {ROOT}; {_PAGE}"


def absent(module: str) -> Callable[[str], Any]:
    """The ``__getattr__`` of a module here: what it does not have says why. Modules in a package are imported."""

    def missing(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        if hasattr(sys.modules[module], "__path__"):
            return import_module(f"{module}.{name}")
        # An ImportError, so that 'from ... import name' tells the sentence too.
        raise ImportError(sentence(f"{module}.{name}".removeprefix(f"{ROOT}.")), name=module)

    return missing


class NotHere:
    """Asked for a module that nobody else has found."""

    @classmethod
    def find_spec(cls, fullname: str, path: Any = None, target: Any = None) -> None:
        """ModuleNotFoundError with a sentence, for what is below this package; nothing for all else."""
        if fullname.startswith(f"{ROOT}."):
            raise ModuleNotFoundError(sentence(fullname.removeprefix(f"{ROOT}.")), name=fullname)
