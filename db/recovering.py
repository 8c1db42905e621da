"""After a backup was restored: making everything that was handed out since worthless. And looking for what is wrong."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import Connection

from . import audit, upgrading
from .misfits import misfits
from .naming import Refused
from .schema import OLDEST_COMPATIBLE, SCHEMA_VERSION
from .sql import Statement

TERM_STEP = 1_000_000
ID_MARGIN = 1_000_000
"""Ids that may have been handed out, and used as keys elsewhere, between the backup and the loss."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What recovering did."""

    old_cluster_id: str
    cluster_id: str
    schedulers: int
    masters_lost: int
    counters: dict[str, int]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong in the database, and what to do about it."""

    what: str
    cure: str

    def __str__(self) -> str:
        return f"{self.what}; {self.cure}"


_BEATING = Statement(
    "SELECT name FROM masters WHERE state IN ('up', 'stopping')"
    " AND last_beat_at > {now} - 1000000 * (CASE WHEN lease_s > 10 THEN lease_s ELSE 10 END) ORDER BY name"
)
_CLUSTER_ID = Statement("SELECT cluster_id FROM cluster WHERE id = 1")
_NEW_CLUSTER_ID = Statement("UPDATE cluster SET cluster_id = :cluster_id WHERE id = 1")
_RAISE_TERMS = Statement(
    "UPDATE schedulers SET incarnation = NULL, active_since = NULL, term = :step + CASE WHEN term > coalesce("
    "(SELECT max(o.term) FROM ownership o WHERE o.scheduler_id = schedulers.id), 0) THEN term"
    " ELSE (SELECT max(o.term) FROM ownership o WHERE o.scheduler_id = schedulers.id) END"
)
_RECORD = Statement(
    "INSERT INTO ownership (scheduler_id, term, incarnation, since, turns, why)"
    " SELECT id, term, NULL, {now}, turns, 'recovered from a backup' FROM schedulers WHERE true"
    " ON CONFLICT (scheduler_id, term) DO NOTHING"
)
_ALL_LOST = Statement(
    "UPDATE masters SET state = 'lost', ended_at = {now}, ended_why = 'recovered from a backup', crash_key = NULL"
    " WHERE state IN ('up', 'stopping')"
)
_NO_STANDBY = Statement("DELETE FROM standby")
_HIGHEST = {
    "changes": "SELECT coalesce(max(number), 0) FROM changes",
    "finished": "SELECT coalesce(max(finished_number), 0) FROM buildsets",
    "buildsets": (  # executions have theirs from the same counter
        "SELECT max(id) FROM (SELECT coalesce(max(id), 0) AS id FROM buildsets"
        " UNION ALL SELECT coalesce(max(id), 0) FROM executions) AS both_tables"
    ),
    "tasks": "SELECT coalesce(max(id), 0) FROM tasks",
    "messages": "SELECT coalesce(max(id), 0) FROM messages",
    "schedules": "SELECT coalesce(max(id), 0) FROM schedules",
}
_RAISE_COUNTER = {
    name: Statement(
        f"UPDATE counters SET value = :margin + CASE WHEN value > ({highest}) THEN value ELSE ({highest}) END"
        f" WHERE name = '{name}' RETURNING value"
    )
    for name, highest in _HIGHEST.items()
}
_MAKE_COUNTER = Statement("INSERT INTO counters (name, value) VALUES (:name, 0) ON CONFLICT (name) DO NOTHING")


def recover(conn: Connection, who: str, reason: str = "", *, force: bool = False) -> Recovered:
    """Make a restored database safe to use: no process that knew the lost one can act on it.

    Every term rises by a million, every incarnation is lost, the cluster has a new id, and ids go on a million further.
    Refused: a master has beaten within its lease, so somebody works on this database now (unless ``force``).
    """
    beating = [] if force else list(_BEATING(conn).scalars())
    if beating:
        raise Refused(f"master {', '.join(beating)} is running on this database; stop all masters, then recover")
    old = str(_CLUSTER_ID(conn).scalar_one())
    new = secrets.token_hex(8)
    schedulers = _RAISE_TERMS(conn, step=TERM_STEP).rowcount
    _RECORD(conn)
    lost = _ALL_LOST(conn).rowcount
    _NO_STANDBY(conn)
    _NEW_CLUSTER_ID(conn, cluster_id=new)
    audit.record(conn, who, "recover", f"cluster {old}", reason)
    counters = {}
    for name in upgrading.COUNTERS:
        _MAKE_COUNTER(conn, name=name)
        counters[name] = int(_RAISE_COUNTER[name](conn, margin=ID_MARGIN).scalar_one())
    return Recovered(old, new, schedulers, lost, counters)


_RECOVER = "run 'locum db recover' with all masters stopped"
_REPORT = "restore a backup, or report this as a defect with the output of this command"
# Each statement names what is wrong, a row for each; (what a row means, statement, cure).
_LOOKS = (
    (
        "{} is held under an incarnation that the table of masters does not know",
        "SELECT s.name FROM schedulers s WHERE s.incarnation IS NOT NULL"
        " AND NOT EXISTS (SELECT 1 FROM masters m WHERE m.incarnation = s.incarnation)",
        _RECOVER,
    ),
    (
        "{} is disabled, and held all the same",
        "SELECT name FROM schedulers WHERE NOT enabled AND incarnation IS NOT NULL",
        "'locum scheduler enable' and 'disable' it again",
    ),
    (
        "the term of {} has fallen, as after restoring a backup",
        "SELECT s.name FROM schedulers s JOIN ownership o ON o.scheduler_id = s.id GROUP BY s.id, s.name, s.term"
        " HAVING max(o.term) > s.term",
        _RECOVER,
    ),
    (
        "more than one master named {} is up",
        "SELECT name FROM masters WHERE state = 'up' GROUP BY name HAVING count(*) > 1",
        "stop all but one of them; the index masters_one_up is missing",
    ),
    (
        "{} has read changes or finished buildsets that do not exist",
        "SELECT name FROM schedulers WHERE change_cursor > (SELECT value FROM counters WHERE name = 'changes')"
        " OR finished_cursor > (SELECT value FROM counters WHERE name = 'finished')",
        _RECOVER,
    ),
    (
        "buildset {} has no unfinished task, but is not complete",
        "SELECT b.id FROM buildsets b WHERE b.completed_at IS NULL"
        " AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.buildset_id = b.id AND t.result IS NULL)",
        _REPORT,
    ),
    (
        "task {} belongs to a buildset that does not exist",
        "SELECT t.id FROM tasks t WHERE t.buildset_id IS NOT NULL"
        " AND NOT EXISTS (SELECT 1 FROM buildsets b WHERE b.id = t.buildset_id)",
        _REPORT,
    ),
    (
        "task {} belongs to a builder that does not exist",
        "SELECT t.id FROM tasks t WHERE NOT EXISTS (SELECT 1 FROM builders b WHERE b.id = t.builder_id)",
        _REPORT,
    ),
    (
        "a sourcestamp of buildset {} does not exist",
        "SELECT DISTINCT b.buildset_id FROM buildset_sourcestamps b"
        " WHERE NOT EXISTS (SELECT 1 FROM sourcestamps s WHERE s.id = b.sourcestamp_id)",
        _REPORT,
    ),
)
_LOOK = [(what, Statement(sql + " LIMIT 5"), cure) for what, sql, cure in _LOOKS]
_COUNTER_BEHIND = {
    name: Statement(f"SELECT ({highest}) AS highest, (SELECT value FROM counters WHERE name = '{name}') AS value")
    for name, highest in _HIGHEST.items()
}
_REVISION = Statement("SELECT version_num FROM locum_alembic_version")


def check(conn: Connection) -> list[Finding]:
    """Everything that is wrong in this database; an empty list if it is well. Of each kind at most five are named."""
    found = upgrading.versions(conn)
    if found is None:
        return [Finding("the database is empty", "'locum db upgrade' or 'locum start' creates the tables")]
    if found.schema_version < SCHEMA_VERSION:
        what = f"schema version {found.schema_version} is older than this release's {SCHEMA_VERSION}"
        return [Finding(what, "run 'locum db upgrade'")]
    if found.oldest_compatible > SCHEMA_VERSION or found.schema_version < OLDEST_COMPATIBLE:
        return [Finding(f"schema version {found.schema_version} is too new for this release", "install a newer Locum")]
    odd = [Finding(what, "mend that row, or restore it from a backup") for what in misfits(conn)]
    if odd:
        return [*_file_findings(conn), *odd]  # the rest can be looked at when these are mended
    return [
        *_file_findings(conn),
        *_revision_findings(conn, found),
        *_counter_findings(conn),
        *_row_findings(conn),
    ]


def _row_findings(conn: Connection) -> list[Finding]:
    return [Finding(what.format(f"'{row[0]}'"), cure) for what, statement, cure in _LOOK for row in statement(conn)]


def _counter_findings(conn: Connection) -> list[Finding]:
    found = []
    for name, statement in _COUNTER_BEHIND.items():
        row = statement(conn).one()
        if row.value is None:
            found.append(Finding(f"the counter '{name}' is missing", _RECOVER))
        elif row.value < row.highest:
            found.append(Finding(f"the counter '{name}' is {row.value}, below {row.highest} in the tables", _RECOVER))
    return found


def _revision_findings(conn: Connection, found: upgrading.Versions) -> list[Finding]:
    if found.schema_version != SCHEMA_VERSION:
        return []  # a newer release's, compatible: its revisions are not known here
    head = _head()
    revisions = list(_REVISION(conn).scalars())
    if revisions == [head]:
        return []
    return [Finding(f"the migrations stand at {revisions}, not at '{head}'", "run 'locum db upgrade'")]


def _head() -> str | None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return ScriptDirectory.from_config(config).get_current_head()


def _file_findings(conn: Connection) -> list[Finding]:
    if conn.dialect.name != "sqlite":
        return []
    said = [row[0] for row in conn.exec_driver_sql("PRAGMA integrity_check(5)")]
    damage = [] if said == ["ok"] else said
    orphans = list(conn.exec_driver_sql("PRAGMA foreign_key_check"))[:5]
    return [
        *(Finding(f"the file is damaged: {line}", "restore a backup, then run 'locum db recover'") for line in damage),
        *(
            Finding(f"row {row[1]} of '{row[0]}' refers to a row of '{row[2]}' that is gone", _REPORT)
            for row in orphans
        ),
    ]
