"""``Try_Jobdir``: try jobs as files in a maildir, which only the active master looks at."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from twisted.internet.defer import Deferred

from ..schedulers.hooks import hook
from ..schedulers.interface import NotActive
from ..schedulers.try_jobs import LARGEST_JOB, BadJob, TryJob, read_job
from ..schedulers.trying import TryBase
from .logs import Log
from .loop import Loop
from .sources.polling import duration
from .surroundings import Surroundings
from .tried import tried

_SERVED = "served"
AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class _File:
    """A file of ``new``: ``key`` is its name and content, so that a name that is used again is another job."""

    name: str
    key: str
    job: TryJob | None
    fault: str = ""


class Try_Jobdir(TryBase):
    """Makes a buildset of every job that is put into ``new`` of the maildir ``jobdir``.

    Once it is committed the file goes to ``cur``; a job that cannot be built goes to ``bad``, with the reason beside it in
    NAME.reason. A file that is seen twice (its master died before it could move it) is one buildset.
    Relative to the YAML file; for masters on several hosts it must be the same folder everywhere.
    """

    log = Log()
    compare_attrs: ClassVar[Sequence[str]] = ("jobdir", "poll_interval_s")

    surroundings: Surroundings
    base_dir: Path

    def __init__(self, name: str, builderNames: Any, jobdir: str, poll_interval: Any = 5, **kwargs: Any) -> None:
        super().__init__(name, builderNames, **kwargs)
        if not isinstance(jobdir, str) or not jobdir or "\0" in jobdir:
            raise ValueError(f"jobdir: expected a folder, got {jobdir!r}")
        self.jobdir = jobdir
        self.poll_interval_s = duration("poll_interval", poll_interval, 0.1)
        self._loop: Loop | None = None

    def equip(self, surroundings: Surroundings, base_dir: Path) -> None:
        """Called once by the master, right after construction; ``base_dir`` is the YAML file's folder."""
        self.surroundings = surroundings
        self.base_dir = base_dir

    @hook
    async def activate(self) -> None:
        await super().activate()
        name = f"try scheduler {self.name!r}"
        self._loop = Loop(self.surroundings.reactor, self._look, self.poll_interval_s, name)
        self._loop.start()

    @hook
    async def deactivate(self) -> None:
        self.active = False
        if self._loop is not None:
            await self._loop.stop()
        await super().deactivate()

    async def _look(self) -> None:
        try:
            folder = self.base_dir / self.jobdir
            found: list[_File] = await self._in_thread(_found, folder)
            for file in found:
                self.master.get_state(_SERVED)  # NotActive before anything outside is touched
                fault = file.fault or await self._serve(file, {one.key for one in found})
                await self._in_thread(_put_away, folder, file.name, fault)
                if fault:
                    self.log.warn(
                        "scheduler {name}: try job {job} is put aside: {why}", name=self.name, job=file.name, why=fault
                    )
        except NotActive:
            pass  # another instance goes on

    async def _serve(self, file: _File, there: set[str]) -> str:
        """Make its buildset, unless that has been done; why it cannot be made, else ''."""
        assert file.job is not None
        async with self.turn():
            served: list[str] = await self.getState(_SERVED, [])
            if file.key in served:
                return ""
            try:
                await tried(self, file.job)
            except BadJob as error:
                return str(error)
            # What is not in the folder any more need not be known any more.
            await self.setState(_SERVED, [*(key for key in served if key in there), file.key])
        return ""

    def _in_thread(self, function: Any, *args: Any) -> Deferred[Any]:
        return self.surroundings.in_thread(function, *args)


def _found(folder: Path) -> list[_File]:
    """The oldest files of ``new``, read; the maildir is made if it is not there."""
    for part in ("new", "cur", "tmp", "bad"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    names = sorted(entry.name for entry in (folder / "new").iterdir() if not entry.name.startswith("."))
    return [read for name in names[:AT_ONCE] if (read := _read(folder / "new" / name)) is not None]


def _read(path: Path) -> _File | None:
    try:
        if path.is_symlink() or not path.is_file():
            return _File(path.name, path.name, None, "it is not a file")
        with path.open("rb") as opened:
            data = opened.read(LARGEST_JOB + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        return _File(path.name, path.name, None, f"it cannot be read: {error.strerror}")
    key = f"{path.name}:{hashlib.sha256(data).hexdigest()[:16]}"
    try:
        return _File(path.name, key, read_job(data))
    except BadJob as error:
        return _File(path.name, key, None, str(error))


def _put_away(folder: Path, name: str, fault: str) -> None:
    there = folder / ("bad" if fault else "cur")
    kept, count = name, 1
    while (there / kept).exists():  # an earlier job of that name
        count += 1
        kept = f"{name}.{count}"
    if fault:
        (there / f"{kept}.reason").write_text(fault + "\n", encoding="utf-8", errors="backslashreplace")
    with contextlib.suppress(FileNotFoundError):
        (folder / "new" / name).rename(there / kept)
