"""What can go wrong between us and a database, one type for each thing that a caller does next."""

from __future__ import annotations

import re
import sqlite3

import psycopg2
from sqlalchemy import exc


class DatabaseError(Exception):
    """The root of what ``db`` raises. Its text never holds a password."""


class DatabaseAway(DatabaseError):
    """The database did not take part: gone, restarting, read-only, full, locked or too slow. Nothing was committed; try again later."""


class OutcomeUnknown(DatabaseError):
    """The answer to COMMIT was lost: it may or may not have happened. Fence the old transaction off, then read what is there."""


class BadData(DatabaseError):
    """The database refused a value: the same statement will be refused again. Nothing was committed."""


class WrongDatabase(DatabaseError):
    """This is not (or not yet, or no longer) a database that this release can work with; a person must act."""


_SQLITE_AWAY = re.compile("locked|busy|unable to open|disk|readonly|read-only|full|interrupted|I/O", re.IGNORECASE)
_AWAY = (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError, exc.DisconnectionError)


def translated(error: BaseException) -> DatabaseError | None:
    """Our type for an error of SQLAlchemy or a driver that came *before* COMMIT; None for errors that are not the database's."""
    if isinstance(error, DatabaseError):
        return error
    if isinstance(error, exc.DBAPIError):
        said = str(error.orig).strip().splitlines()
        text = said[0] if said else type(error.orig).__name__
        if isinstance(error.orig, psycopg2.errors.UndefinedTable) or "no such table" in text:
            return WrongDatabase(f"a table is missing ({text}); run 'locum db upgrade', or check the database's URL")
        if isinstance(error.orig, sqlite3.OperationalError) and not _SQLITE_AWAY.search(text):
            return BadData(text)  # the driver has one type for an absent disk and for a wrong statement
        if type(error.orig) is sqlite3.DatabaseError:  # "file is not a database", "... is malformed"
            return WrongDatabase(f"{text}; is the file a Locum database?")
        if type(error.orig) in (psycopg2.DatabaseError, psycopg2.Error):
            return DatabaseAway(text)  # libpq's own words ("server closed the connection ..."): no SQLSTATE came
        if isinstance(error, _AWAY) or error.connection_invalidated:
            return DatabaseAway(text)
        return BadData(text)
    if isinstance(error, _AWAY):
        return DatabaseAway(str(error))
    if isinstance(error, (psycopg2.OperationalError, psycopg2.InterfaceError, sqlite3.OperationalError)):
        return DatabaseAway(str(error).strip() or type(error).__name__)
    if isinstance(error, sqlite3.DatabaseError):
        return WrongDatabase(f"{error}; is the file a Locum database?")
    return None
