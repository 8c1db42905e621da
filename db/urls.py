"""Database URLs: ``sqlite:///file`` and everything that libpq understands. Passwords are never shown."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from psycopg2 import ProgrammingError
from psycopg2.extensions import parse_dsn

# As libpq reads it: what stands before an '@' that stands before the first '/'. The other is of those who did not escape
# a '/' in a password: libpq would take the password for a port, and say so in an error.
_PASSWORD = re.compile(r"(?<=://)([^/@:]*):([^/]*)@")
_STRAY_PASSWORD = re.compile(
    r"(?<=://)([^/@:]*):([^@=]*)@"
)  # if there is a '/' in it; asked for here, it would take long
_LONGEST = 4096
_ESCAPE = re.compile(r"%(?!00)[0-9A-Fa-f]{2}")
_PASSWORD_PARAMETER = re.compile(r"(?i)([?&](?:ssl)?password=)[^&]*")


def without_password(url: str) -> str:
    """``url`` fit to be shown: its password, wherever it stands, is ``***``."""
    url = _PASSWORD.sub(r"\1:***@", url)
    url = _STRAY_PASSWORD.sub(lambda found: f"{found[1]}:***@" if "/" in found[2] else found[0], url)
    return _PASSWORD_PARAMETER.sub(r"\1***", url)


def _has_stray_password(url: str) -> bool:
    return any("/" in found[2] for found in _STRAY_PASSWORD.finditer(url))


def _refused_by_libpq(url: str) -> str:
    """Why libpq cannot read ``url``; '' if it can. In our words: libpq's quote what it stumbles over, be it a password."""
    if "%" in _ESCAPE.sub("", url):
        return "has a '%' that stands for itself; write '%' as %25"
    try:
        ports = str(parse_dsn(url).get("port", "")).split(",")
    except ProgrammingError as error:
        quoted = re.search(r'invalid URI query parameter: "(\w+)"', str(error))
        if quoted and "password" not in url.lower():
            return f"has the option {quoted[1]!r}, which libpq does not know"
        return "has something that libpq does not understand; write postgresql://USER@HOST:PORT/DATABASE?OPTION=VALUE"
    wrong = [port for port in ports if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536)]
    return "has a port that is no number from 1 to 65535" if wrong else ""


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """A parsed URL. ``str()`` and ``repr()`` hide the password; ``libpq`` and ``sqlite_path`` are for the drivers."""

    dialect: str
    shown: str
    libpq: str = field(default="", repr=False)
    path: Path | None = None

    @classmethod
    def parse(cls, url: str, base_dir: Path) -> DatabaseUrl:
        """Raises ValueError, whose text hides the password, for what is neither SQLite nor PostgreSQL.

        A SQLite path is relative to ``base_dir`` (the folder of the YAML file), ``sqlite:////abs`` is absolute.
        """
        if len(url) > _LONGEST:
            raise ValueError(f"the database's URL has {len(url)} characters, more than {_LONGEST}")
        shown = without_password(url)
        scheme, colon, rest = url.partition("://")
        if scheme == "sqlite" and colon and rest.startswith("/") and len(rest) > 1:
            try:
                path = (base_dir / rest[1:]).resolve()
            except (OSError, RuntimeError, ValueError) as error:  # a NUL, a loop of links
                raise ValueError(f"the database's URL names no usable file: {error}") from None
            return cls("sqlite", f"sqlite:///{path}", path=path)
        if rest.split("/")[0].count("@") > 1 or re.search(r"[\0\s]", url) or _has_stray_password(url):
            raise ValueError(
                "the database's URL has an '@', a '/' or a space inside its user or password; write '@' as %40, '/' as"
                " %2F and a space as %20"
            )
        if scheme in ("postgresql", "postgres", "postgresql+psycopg2") and colon:
            if wrong := _refused_by_libpq(f"postgresql://{rest}"):
                raise ValueError(f"the database's URL {wrong}")
            return cls("postgresql", shown, libpq=f"postgresql://{rest}")
        raise ValueError(
            f"{shown!r} is not a database that Locum knows; write sqlite:///FILE or postgresql://USER@HOST/DATABASE"
        )

    @property
    def sqlite_path(self) -> str:
        """The file as a URI for the sqlite3 module."""
        return f"file:{quote(str(self.path))}?mode=rwc"

    def __str__(self) -> str:
        return self.shown
