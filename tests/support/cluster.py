"""A cluster of real master processes in one folder: started, stopped, frozen and killed, and looked at from outside."""

from __future__ import annotations

import atexit
import contextlib
import functools
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import yaml
from locum.db import listings, members, wakeups
from locum.db.database import Bounds, Database, HostClocks
from locum.db.errors import DatabaseError
from locum.db.urls import DatabaseUrl
from locum.master.commands import main as commands
from sqlalchemy import text
from sqlalchemy.engine import Connection

from .zygote import Forked, Zygote

CLOCKS = HostClocks(
    wall_us=lambda: time.time_ns() // 1000, boottime_us=lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
)
BOUND_S = 45.0
"""How long an event may take on a machine that is busy with other things; none of it is a promise's figure."""
Process = subprocess.Popen[bytes] | Forked
_RUN = "import sys; from locum.master.commands.main import main; sys.argv[0] = 'locum'; main()"


class Cluster:
    """Masters of one configuration, each with a file and a log of its own in ``folder``. Use it as a context manager.

    ``settings`` are the YAML's sections as Python values; ``cluster`` and ``database`` have short defaults.
    """

    def __init__(self, folder: Path, url: str, **settings: Any) -> None:
        self.folder = folder
        self.url = url
        self.settings = {"cluster": {"lease": "2s", "heartbeat": "500ms"}, **settings}
        self.settings["database"] = {"url": url, **settings.get("database", {})}
        self.processes: dict[str, Process] = {}
        self._ended: list[Process] = []
        self._database: Database | None = None

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def sqlite(self) -> bool:
        return self.url.startswith("sqlite")

    # -- masters ----------------------------------------------------------------------------------------------------

    def file(self, name: str) -> Path:
        """A master's own configuration."""
        return self.folder / f"{name}.yaml"

    def configure(self, *names: str, **settings: Any) -> None:
        """Write the files of these masters (all that run, if none is named), with these sections changed for them all."""
        if not names:
            self.settings |= settings
            settings = {}
        for name in names or tuple(self.processes):
            sections = {**self.settings, **settings}
            new = self.file(name).with_suffix(".new")
            new.write_text(yaml.safe_dump(sections, sort_keys=False))
            new.rename(self.file(name))  # a master may read it just now

    def start(self, *names: str, wait: bool = True, env: Mapping[str, str] | None = None, write: bool = True) -> None:
        """Start these masters at once; ``wait`` until all are up."""
        for name in names:
            if write or not self.file(name).exists():
                self.configure(name)
            old = self.processes.get(name)
            if old is not None:
                assert old.poll() is not None, f"{name} runs already"
                self._ended.append(old)
            with self.log_file(name).open("ab") as log:
                self.processes[name] = self._started(name, log, env or {})
        if wait:
            self.until(lambda: all(self.runs(name) for name in names), f"{', '.join(names)} up")

    def _started(self, name: str, log: IO[bytes], env: Mapping[str, str]) -> Process:
        arguments = ["start", "--config", str(self.file(name)), "--name", name]
        plain = env.keys() & {"LD_PRELOAD", "PYTHONPATH"}  # it must be there before the interpreter is
        env = {**_environment(), "LOCUM_TEST_MASTER": name, "LOCUM_TEST_FOLDER": str(self.folder), **env}
        if not plain:
            return _zygote().fork(arguments, output=log.fileno(), cwd=self.folder, env=env)
        command = [sys.executable, "-c", _RUN, *arguments]
        return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.folder, env=env)

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a master's process."""
        self.processes[name].send_signal(number)

    def kill(self, *names: str) -> None:
        """kill -9, and gone."""
        for name in names:
            self.signal(name, signal.SIGKILL)
        for name in names:
            self.processes[name].wait(BOUND_S)

    def freeze(self, name: str) -> None:
        """SIGSTOP, and stopped."""
        self.signal(name, signal.SIGSTOP)
        self.until(lambda: self._state(name) == "T", f"{name} is frozen")

    def thaw(self, name: str) -> None:
        """SIGCONT."""
        self.signal(name, signal.SIGCONT)

    def stop(self, *names: str, bound_s: float = BOUND_S) -> list[int]:
        """SIGTERM to each, and their exit codes."""
        for name in names:
            self.signal(name, signal.SIGTERM)
        return [self.wait(name, bound_s) for name in names]

    def wait(self, name: str, bound_s: float = BOUND_S) -> int:
        """A master's exit code, once it has ended."""
        try:
            return self.processes[name].wait(bound_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{name} has not ended within {bound_s} s\n{self.log(name)[-3000:]}") from None

    def wake(self, name: str, old: str | None) -> None:
        """Let a frozen master go on, and wait until it has joined anew, as another incarnation than ``old``.

        On SQLite one that froze in the middle of a write has been killed by a survivor: it is started again.
        """
        if self.processes[name].poll() is None:
            self.thaw(name)

        def back() -> bool:
            if self.sqlite and self.processes[name].poll() == -signal.SIGKILL:
                self.start(name)
            return self.incarnation(name) not in (None, old)

        self.until(back, f"{name} joins anew")

    def pid(self, name: str) -> int:
        return self.processes[name].pid

    def _state(self, name: str) -> str:
        return Path(f"/proc/{self.pid(name)}/stat").read_text().rpartition(")")[2].split()[0]

    def log_file(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def log(self, name: str) -> str:
        """What a master has said so far."""
        path = self.log_file(name)
        return path.read_text(errors="replace") if path.exists() else ""

    def close(self) -> None:
        """End every process that is left, and close the database; legal twice."""
        everything = [*self._ended, *self.processes.values()]
        for process in everything:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
        for process in everything:
            process.wait(BOUND_S)
        if self._database is not None:
            self._database.close()
            self._database = None

    # -- commands ---------------------------------------------------------------------------------------------------

    def locum(
        self, *arguments: str, given: str | None = None, code: int | None = 0, bound_s: float = BOUND_S
    ) -> subprocess.CompletedProcess[str]:
        """A command on this cluster's database, in a process of its own, its exit code checked (None: whatever)."""
        done = subprocess.run(
            [sys.executable, "-c", _RUN, *arguments],
            input="" if given is None else given,
            capture_output=True,
            cwd=self.folder,
            env={**_environment(), "LOCUM_DATABASE": self.url, "COLUMNS": "250"},
            timeout=bound_s,
            check=False,
            encoding="utf-8",
            errors="replace",
        )
        return _checked(done, code)

    def quick(self, *arguments: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """The same without a process, which would take a second to start. Not from several threads at once."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            answer = commands.run(["--database", self.url, *arguments])
        done = subprocess.CompletedProcess(("locum", *arguments), answer, out.getvalue(), err.getvalue())
        return _checked(done, code)

    def json(self, *arguments: str, code: int | None = 0) -> Any:
        """A command's answer in JSON."""
        return json.loads(self.quick(*arguments, "--json", code=code).stdout)

    # -- the database, seen from outside ----------------------------------------------------------------------------

    @property
    def database(self) -> Database:
        if self._database is None:
            parsed = DatabaseUrl.parse(self.url, self.folder)
            bounds = Bounds(connect_s=2.0, lock_s=20.0)
            self._database = Database(parsed, clocks=CLOCKS, label="locum:test", pool_size=4, bounds=bounds)
        return self._database

    def rows(self, sql: str, **values: Any) -> list[Any]:
        """The rows of a query."""
        return self.database.read(_rows, sql, values)

    def value(self, sql: str, **values: Any) -> Any:
        """The only value of a query."""
        ((found,),) = self.rows(sql, **values)
        return found

    def execute(self, sql: str, **values: Any) -> list[Any]:
        """Change something by hand."""
        return self.database.write(_rows, sql, values)

    def order(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What a command does, without its process: a transaction, then the wake-up."""
        answer = self.database.write(function, *args, **kwargs)
        self.database.single(wakeups.announce, ["schedulers", "changes", "messages", "orders"])
        return answer

    def until(self, true: Callable[[], Any], what: str, bound_s: float = BOUND_S) -> Any:
        """Wait until ``true()`` is, looking often; a database that is away just now is waited for."""
        end = time.monotonic() + bound_s
        last: object = None
        while True:
            try:
                last = true()
                if last:
                    return last
            except DatabaseError as error:
                last = error
            if time.monotonic() > end:
                raise AssertionError(f"not within {bound_s} s: {what} (last: {last!r})\n{self.told()}")
            time.sleep(0.03)

    def told(self) -> str:
        """The ends of all logs, for a failure's message."""
        told = [f"--- {name}\n{self.log(name)[-2500:]}" for name in self.processes]
        with contextlib.suppress(DatabaseError):
            told += [str(line) for line in self.database.read(listings.schedulers)[:10]]
            told += [str(row) for row in self.rows("SELECT * FROM ownership ORDER BY since DESC LIMIT 20")]
        return "\n".join(told)

    def up(self) -> dict[str, members.Master]:
        """The masters that are up, by name."""
        return {m.name: m for m in self.database.single(members.living) if m.state == "up"}

    def runs(self, name: str) -> bool:
        """Whether the process that was started last under this name is up."""
        found = self.up().get(name)
        return found is not None and found.process.pid == self.pid(name)

    def incarnation(self, name: str) -> str | None:
        """A master's present incarnation; None: it is not up."""
        found = self.up().get(name)
        return None if found is None else found.incarnation

    def line(self, scheduler: str) -> listings.SchedulerLine:
        """A scheduler as ``locum status`` has it."""
        return next(s for s in self.database.read(listings.schedulers) if s.name == scheduler)

    def holder(self, scheduler: str) -> str | None:
        """The name of the master that is up and holds it."""
        return next((m for m, _ in self.held(scheduler)), None)

    def held(self, scheduler: str) -> list[tuple[str, int]]:
        """[(master, term)] of the present holder; empty if there is none that is up."""
        found = self.rows(
            "SELECT m.name, s.term FROM schedulers s JOIN masters m ON m.incarnation = s.incarnation"
            " WHERE s.name = :s AND m.state = 'up'",
            s=scheduler,
        )
        return [(row[0], row[1]) for row in found]

    def term(self, scheduler: str) -> int:
        return int(self.value("SELECT term FROM schedulers WHERE name = :s", s=scheduler))

    def wait_held(self, *schedulers: str, by: Iterable[str] | None = None, active: bool = True) -> str:
        """Wait until they are held (by one of ``by``) and, with ``active``, each has committed a turn of that term.

        Who holds the last of them.
        """
        names = None if by is None else set(by)

        def there() -> str | None:
            name = None
            for scheduler in schedulers:
                found = self.held(scheduler)
                if not found or (names is not None and found[0][0] not in names):
                    return None
                name = found[0][0]
                if active and not self.active(scheduler):
                    return None
            return name

        return str(self.until(there, f"{schedulers} held by {names or 'anybody'}"))

    def active(self, scheduler: str) -> bool:
        """Whether a scheduler that consumes changes has begun to (its first turn ever is committed)."""
        return bool(
            self.rows(
                "SELECT 1 FROM schedulers WHERE name = :s AND (change_cursor IS NOT NULL OR turns > 0)", s=scheduler
            )
        )

    def buildsets(self, scheduler: str) -> list[Any]:
        """(id, term, reason, due_at, submitted_at, incarnation) of its buildsets, oldest first (ids come from blocks of each master, so they do not tell)."""
        return self.rows(
            "SELECT b.id, b.term, b.reason, b.due_at, b.submitted_at, b.incarnation FROM buildsets b"
            " WHERE b.scheduler = :s ORDER BY b.submitted_at, b.id",
            s=scheduler,
        )

    def built(self, scheduler: str) -> list[str]:
        """The revisions of the changes in its buildsets, one for each time that it is in one."""
        return [
            row[0]
            for row in self.rows(
                "SELECT c.revision FROM buildset_changes bc JOIN buildsets b ON b.id = bc.buildset_id"
                " JOIN changes c ON c.number = bc.change_number WHERE b.scheduler = :s ORDER BY b.submitted_at, b.id, c.number",
                s=scheduler,
            )
        ]

    def state(self, scheduler: str, key: str) -> Any:
        """What it has last set in a committed turn; None: nothing."""
        found = self.rows(
            "SELECT t.value_json FROM scheduler_state t JOIN schedulers s ON s.id = t.scheduler_id"
            " WHERE s.name = :s AND t.key = :k",
            s=scheduler,
            k=key,
        )
        return json.loads(found[0][0]) if found else None

    def add_changes(self, revisions: Sequence[str], **fields: Any) -> None:
        """Changes of these revisions, in one transaction (``locum change add`` does the same)."""
        lines = [
            json.dumps({"who": "ann", "branch": "main", "revision": r, "request_id": r, **fields}) for r in revisions
        ]
        self.order(_add, lines)


def _checked(done: subprocess.CompletedProcess[str], code: int | None) -> subprocess.CompletedProcess[str]:
    if code is not None and done.returncode != code:
        raise AssertionError(f"{done.args}: exit {done.returncode}, not {code}\n{done.stdout}\n{done.stderr}")
    return done


def _add(conn: Connection, lines: Sequence[str]) -> None:
    from locum.db import changes
    from locum.master.changes import validated

    changes.add(conn, [validated(json.loads(line)) for line in lines])


def _rows(conn: Connection, sql: str, values: Mapping[str, Any]) -> list[Any]:
    result = conn.execute(text(sql), dict(values))
    return list(result) if result.returns_rows else []


@functools.cache
def _zygote() -> Zygote:
    """One for all clusters of this process; it ends when this process does."""
    zygote = Zygote()
    atexit.register(zygote.close)
    return zygote


def _environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(("LOCUM_", "PG"))}


def single(builders: Sequence[str] = ("unit",), command: Sequence[str] = ("true",)) -> list[dict[str, Any]]:
    """Builders with one shell step."""
    return [{"name": name, "steps": [{"shell": list(command)}]} for name in builders]


def branch(name: str, which: str = "main", **keys: Any) -> dict[str, Any]:
    """A SingleBranchScheduler's entry."""
    return {"type": "SingleBranchScheduler", "name": name, "branch": which, "builderNames": ["unit"], **keys}


def periodic(name: str, seconds: float = 1, **keys: Any) -> dict[str, Any]:
    """A Periodic's entry that serves every tick."""
    return {
        "type": "Periodic",
        "name": name,
        "periodicBuildTimer": seconds,
        "catch_up": "all",
        "catch_up_limit": 10_000,
        "builderNames": ["unit"],
        **keys,
    }
