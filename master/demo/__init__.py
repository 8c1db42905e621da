"""``locum demo``: three masters, a real git repository, a kill and a freeze, told as they happen."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import click

from ...db import upgrading
from ...db.database import Bounds, Database
from ...db.errors import DatabaseError
from ...db.naming import Refused
from ...db.urls import DatabaseUrl
from ..commands.opening import CLOCKS
from .masters import Masters, master_yaml
from .play import DemoFailed, Play
from .repository import Repository

_OWN_DATABASE = "sqlite:///locum.sqlite"


def run(database_url: str | None, keep: bool) -> int:
    """Play the demo in a folder of its own and end everything that it started; 0: all was done exactly once, else 1.

    ``database_url`` None: a SQLite file in that folder. Refused: git is missing, or the database is not an empty one.
    """
    git = shutil.which("git")
    if git is None:
        raise Refused("the demo needs git, and there is none in PATH; install your system's package 'git'")
    if database_url and DatabaseUrl.parse(database_url, Path.cwd()).dialect != "postgresql":
        raise Refused("the demo makes a SQLite file of its own; --database is for PostgreSQL")
    folder = Path(tempfile.mkdtemp(prefix="locum-demo-"))
    stays = keep
    try:
        with _interruptible():
            code = _played(folder, database_url or _OWN_DATABASE, git, keep)
        stays = keep or code != 0
        return code
    except BrokenPipeError:  # whoever read along has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Refused, DatabaseError):  # it did not even begin
        stays = False
        raise
    finally:
        if stays:
            _tell_where(folder)
        else:
            _remove(folder)


def _played(folder: Path, url: str, git: str, keep: bool) -> int:
    parsed = DatabaseUrl.parse(url, folder)
    database = Database(parsed, clocks=CLOCKS, label="locum:demo", pool_size=2, bounds=Bounds(lock_s=0.5))
    try:
        if not database.read(upgrading.is_empty):
            raise Refused(f"{parsed} is not empty; the demo needs an empty database of its own ('createdb' makes one)")
        repository = Repository(folder / "repository", git)
        (folder / "master.yaml").write_text(master_yaml(url, repository.path), encoding="utf-8")
        code = 0
        try:
            with Masters(folder) as masters:
                code = _performed(Play(masters, repository, database))
            return code
        finally:
            if code == 0 and not keep:  # also when it was interrupted
                database.write(upgrading.remove)
    finally:
        database.close()


def _performed(play: Play) -> int:
    try:
        return play.perform()
    except (DemoFailed, DatabaseError) as failure:
        click.echo(f"FAILED: {failure}")
        return 1


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP clean up as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell_where(folder: Path) -> None:
    config = folder / "master.yaml"
    with contextlib.suppress(OSError):
        click.echo(f"\nEverything is kept in {folder}: the repository, master.yaml, the masters' logs. To look around:")
        for command in ("status", "buildset list", "scheduler show commits", "task log"):
            click.echo(f"  locum --config {config} {command}")
        click.echo(f"To go on: locum start --config {config} --name m1")


def _remove(folder: Path) -> None:
    for _ in range(5):  # what a killed master had started may still be writing
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
