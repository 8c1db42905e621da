"""How SQLite goes about our statements, whatever the size of the tables."""

import importlib
import pkgutil
import re
from itertools import pairwise

import locum.db
import pytest
from locum.db.sql import Statement
from sqlalchemy import text

_GOES_THROUGH_A_TABLE = re.compile(r"SCAN (?!json_each|r\b|q\b|ids\b|\(subquery|CONSTANT)")
_MADE_ONCE = re.compile(r"MATERIALIZE|CO-ROUTINE|LIST SUBQUERY")


def _of_many_rows():
    for module in pkgutil.iter_modules(locum.db.__path__):
        for name, value in vars(importlib.import_module(f"locum.db.{module.name}")).items():
            if isinstance(value, Statement) and "json_each" in str(value.clause("sqlite")):
                yield f"{module.name}.{name}", value


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_is_given_is_parsed_once_and_looked_up_row_by_row(db):
    seen, bad = 0, {}
    for name, statement in _of_many_rows():
        sql = str(statement.clause("sqlite"))
        if name == "tasks._CANDIDATES_POSTGRESQL":
            continue
        parameters = {found: None for found in re.findall(r":(\w+)", sql)} | {"rows": "[]"}

        def plan(conn, sql=sql, parameters=parameters):
            return [row[3] for row in conn.execute(text("EXPLAIN QUERY PLAN " + sql), parameters)]

        steps = db.read(plan)
        seen += 1
        for before, step in pairwise(["MATERIALIZE", *steps]):
            again = step.startswith("SCAN json_each") and not _MADE_ONCE.match(before)
            if again or _GOES_THROUGH_A_TABLE.match(step):
                bad[name] = steps
    assert seen > 50 and not bad
