"""Statements as constants, written once for both databases.

A ``Statement`` is SQL text with a few words in braces that the two databases spell differently:

``{now}``            the database's time, whole microseconds since the epoch (SQLite: the host's, as handed in)
``{lease_now}``      the clock that leases are judged by (design, "Clocks of the lease")
``{lock}``           ``FOR NO KEY UPDATE`` on PostgreSQL; nothing on SQLite, where a write transaction is alone anyway
``{skip_locked}``    ``FOR NO KEY UPDATE SKIP LOCKED``, likewise
``{rows(a bigint, b text)}``  a table made of the parameter ``rows``, a list of lists: however many rows, it is one
                     statement with one text
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.engine import Connection

from .errors import BadData

_WORDS = {
    "postgresql": {
        "now": "(extract(epoch from clock_timestamp()) * 1000000)::bigint",
        "lease_now": "(extract(epoch from clock_timestamp()) * 1000000)::bigint",
        "lock": "FOR NO KEY UPDATE",
        "lock_s": "FOR NO KEY UPDATE OF s",
        "skip_locked": "FOR NO KEY UPDATE SKIP LOCKED",
        "skip_locked_s": "FOR NO KEY UPDATE OF s SKIP LOCKED",
    },
    "sqlite": {
        "now": "locum_now()",
        "lease_now": "locum_boottime()",
        "lock": "",
        "lock_s": "",
        "skip_locked": "",
        "skip_locked_s": "",
    },
}
_ROWS = re.compile(r"\{rows\(([^)]*)\)\}")
_WORD = re.compile(r"\{(\w+)\}")


def _rows(dialect: str, columns: str) -> str:
    pairs = [column.split() for column in columns.split(",")]
    if dialect == "postgresql":
        picked = ", ".join(f"(v->>{i})\\:\\:{kind} AS {name}" for i, (name, kind) in enumerate(pairs))
        return f"(SELECT {picked} FROM jsonb_array_elements(CAST(:rows AS jsonb)) AS e(v))"
    picked = ", ".join(f"json_extract(value, '$[{i}]') AS {name}" for i, (name, _) in enumerate(pairs))
    # LIMIT -1 limits nothing, but SQLite makes the table once: else it may parse the JSON anew for every row of another table.
    return f"(SELECT {picked} FROM json_each(:rows) LIMIT -1)"


class Statement:
    """One SQL statement; calling it executes it on a connection with named parameters."""

    __slots__ = ("_made", "_template")

    def __init__(self, template: str) -> None:
        self._template = template
        self._made: dict[str, TextClause] = {}

    def clause(self, dialect: str) -> TextClause:
        made = self._made.get(dialect)
        if made is None:
            words = {name: word.replace(":", "\\:") for name, word in _WORDS[dialect].items()}
            sql = _ROWS.sub(lambda m: _rows(dialect, m.group(1)), self._template)
            made = self._made[dialect] = text(_WORD.sub(lambda m: words[m.group(1)], sql))
        return made

    def __call__(self, conn: Connection, **parameters: Any) -> Any:
        for name, value in parameters.items():
            if isinstance(value, str):
                _refuse_unstorable(name, value)
        return conn.execute(self.clause(conn.dialect.name), parameters)

    def with_rows(self, conn: Connection, rows: Iterable[Sequence[Any]], **parameters: Any) -> Any:
        """Execute with ``rows`` (lists of JSON values; text that is JSON itself goes in as a string)."""
        rows = list(rows)
        made = json.dumps(rows, separators=(",", ":"))
        if "\\u0000" in made or "\\ud" in made:  # seldom: then look for what this only hints at
            for row in rows:
                for value in row:
                    if isinstance(value, str):
                        _refuse_unstorable("a value", value)
        return self(conn, rows=made, **parameters)


def _refuse_unstorable(what: str, value: str) -> None:
    """BadData for what only one of the databases would keep, or neither: the same on both, before anything is sent."""
    if "\0" in value:
        raise BadData(f"{what}: a text has a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadData(f"{what}: a text has half of a surrogate pair") from None
