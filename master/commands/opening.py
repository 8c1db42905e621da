"""From what a command was given to an open database: the options that all share, and who is asking."""

from __future__ import annotations

import contextlib
import functools
import getpass
import math
import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import click

from ... import config as configuration
from ...config import ConfigError, MasterConfig, Secret
from ...db import upgrading, wakeups
from ...db.database import Bounds, Database, HostClocks
from ...db.errors import DatabaseAway, DatabaseError, OutcomeUnknown
from ...db.misfits import misfits
from ...db.naming import Refused, storable
from ...db.stored import Unreadable
from ...db.urls import DatabaseUrl

P = ParamSpec("P")
T = TypeVar("T")

CLOCKS = HostClocks(
    wall_us=lambda: time.time_ns() // 1000, boottime_us=lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
)
DEFAULT_CONFIG = "master.yaml"
_ATTEMPTS = 4

config_option = click.option(
    "--config", "config_file", metavar="FILE", help="The master's YAML file. Default: $LOCUM_CONFIG, or ./master.yaml."
)
database_option = click.option(
    "--database", "database_url", metavar="URL", help="The database, without a YAML file. Default: $LOCUM_DATABASE."
)
reason_option = click.option("--reason", default="", metavar="TEXT", help="Why; kept with who did it and when.")


class _Seconds(click.FloatRange):
    """From 0 on; 'inf' is without end. What is no number is no bound, although no comparison says so."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds: float = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return seconds


SECONDS = _Seconds(0)
LIMIT = click.IntRange(1, 2**31 - 1)
EVERYTHING = 2**31 - 1
NUMBER = click.IntRange(0, 2**63 - 1)  # ids are 64 bits wide; what is beyond would be an error of the driver
json_option = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")


def config_path(given: str | None) -> Path:
    """Which YAML file is meant; the option of the command goes before that of ``locum`` itself."""
    above = click.get_current_context().find_root().params.get("config_file")
    return Path(given or above or os.environ.get("LOCUM_CONFIG") or DEFAULT_CONFIG)


def load_config(given: str | None) -> MasterConfig:
    """The configuration, read and checked. ConfigError."""
    return configuration.load(config_path(given), os.environ)


def database_command(function: Callable[..., int | None]) -> Callable[..., int | None]:
    """A command that needs the database and no more: its first argument is the open ``Database``."""

    @config_option
    @database_option
    @functools.wraps(function)
    def command(*args: Any, config_file: str | None, database_url: str | None, **kwargs: Any) -> int | None:
        with opened(config_file, database_url) as database:
            try:
                return function(database, *args, **kwargs)
            except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError):
                _blame_the_database(database)
                raise

    return command


def _blame_the_database(database: Database) -> None:
    """After an error that nobody foresaw: if the database holds what Locum did not write, that is what there is to say."""
    what = database.read(lambda conn: next(misfits(conn), None))
    if what is not None:
        raise Unreadable(f"{what}; mend that row, or restore it from a backup ('locum db check' lists all there are)")


@contextlib.contextmanager
def opened(config_file: str | None, database_url: str | None, *, ready: bool = True) -> Iterator[Database]:
    """The database that is meant, closed afterwards; ``ready``: its schema must be in place. DatabaseError, ConfigError."""
    url = database_at(config_file, database_url)
    if ready and url.path is not None and not url.path.exists():
        raise Refused(f"there is no database at {url} yet; 'locum start' or 'locum db upgrade' makes it")
    database = Database(url, clocks=CLOCKS, label=f"locum:command:{who()}", pool_size=2, bounds=Bounds())
    try:
        if ready:
            upgrading.prepare(database, migrate=False)
        yield database
    finally:
        database.close()


def database_at(config_file: str | None, database_url: str | None) -> DatabaseUrl:
    """The database that is meant. A SQLite path is relative to the YAML file, or else to the current folder."""
    above = click.get_current_context().find_root().params
    explicit = config_file or above.get("config_file")
    given = database_url or above.get("database_url") or (None if explicit else os.environ.get("LOCUM_DATABASE"))
    if given:
        url, base = given, Path.cwd()
    else:
        config = _config_for_its_database(config_file)
        kept = config.database.url
        url, base = kept.reveal() if isinstance(kept, Secret) else kept, config.base_dir
    _refuse_ambiguous(url)
    try:
        return DatabaseUrl.parse(url, base)
    except ValueError as error:
        raise Refused(str(error)) from None


def _config_for_its_database(given: str | None) -> MasterConfig:
    """The configuration, of which only the database must be well: secrets that only the masters' environment has, or a
    fault elsewhere, must not keep people from looking at a cluster that runs. ConfigError."""
    try:
        return load_config(given)
    except ConfigError as error:
        config = error.partial
        if not isinstance(config, MasterConfig) or not config.database.url_place.file:
            raise
        if any(re.match(r"database\b", fault.path) for fault in error.faults):
            raise
        return config


def _refuse_ambiguous(url: str) -> None:
    # The driver would take what follows the first '@' for the host, and name it in its error.
    if url.partition("://")[2].split("/")[0].count("@") > 1 or re.search(r"[\0\s]", url):
        raise Refused("the database's URL has an '@' or a space inside the user or password; write '@' as %40")


def who() -> str:
    """The person or program that gives the command, as ``user@host``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid{os.getuid()}"
    name = f"{user}@{socket.gethostname()}"[:200]
    return name if storable(name) else ascii(name)


def written(
    database: Database, topics: Iterable[str], function: Callable[Concatenate[Any, P], T], *args: P.args, **kw: P.kwargs
) -> T:
    """``function`` in a transaction, then the wake-up. Only for what may be repeated: it is, if its outcome got lost."""
    for attempt in range(_ATTEMPTS):
        try:
            answer = database.write(function, *args, **kw)
            break
        except OutcomeUnknown:
            if attempt == _ATTEMPTS - 1:
                raise
            time.sleep(0.2)
    announce(database, topics)
    return answer


def announce(database: Database, topics: Iterable[str]) -> None:
    """Wake the masters: a hint, so that what was written is seen at once and not seconds later."""
    with contextlib.suppress(DatabaseError):
        database.single(wakeups.announce, list(topics))


def polled(database: Database, ask: Callable[[Any], T | None], every_s: float, timeout_s: float | None) -> T | None:
    """Ask the database again and again until the answer is not None; None: not within ``timeout_s``.

    An outage of the database is waited through, within the time limit.
    """
    until = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        try:
            answer = database.read(ask)
            if answer is not None:
                return answer
        except DatabaseAway:
            if until is not None and time.monotonic() >= until:
                raise
        if until is not None and time.monotonic() >= until:
            return None
        time.sleep(every_s)
