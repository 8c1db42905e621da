"""``Change`` as code written for Buildbot knows it: ``when`` in seconds, ``properties`` with ``getProperty``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from twisted.internet.defer import Deferred, succeed

from ...changes import Change as NewChange
from ..absent import absent
from ..process.properties import Properties

__all__ = ["Change"]


class Change(NewChange):
    """One change; also ``change["files"]`` and so on, as the dictionaries of ``self.master.db.changes`` have it."""

    properties: Properties

    @property
    def when_timestamp(self) -> float:
        """``when``, by its other name."""
        return self.when

    @property
    def isdir(self) -> int:
        """Nothing sets it."""
        return 0

    @classmethod
    def fromChdict(cls, master: Any, chdict: Mapping[str, Any]) -> Deferred[Change]:
        """The change of a dictionary of ``self.master.db.changes``."""
        when: Any = chdict["when_timestamp"]
        made = cls(
            number=chdict["changeid"],
            who=chdict["author"],
            when=_seconds(when),
            properties=Properties.fromDict(chdict["properties"], "Change"),
            **{name: chdict[name] for name in _SAME},
        )
        return succeed(made)

    def asDict(self) -> dict[str, Any]:
        """What people are shown of it."""
        return {
            **{name: getattr(self, name) for name in _SAME},
            "number": self.number,
            "who": self.who,
            "when": self.when,
            "files": [{"name": name} for name in self.files],
            "properties": self.properties.asList(),
        }

    def getTime(self) -> str:
        """``when`` for people, in UTC."""
        return datetime.fromtimestamp(self.when, UTC).strftime("%a %d %b %Y %H:%M:%S")

    def __getitem__(self, key: str) -> Any:
        return chdict_of(self)[key]

    def get(self, key: str, default: Any = None) -> Any:
        """As of its dictionary."""
        return chdict_of(self).get(key, default)


def _seconds(when: Any) -> Any:
    """Seconds since the epoch, of these or of a datetime."""
    return when.timestamp() if isinstance(when, datetime) else when


_SAME = (
    *("committer", "files", "comments", "branch", "revision", "category", "repository", "codebase", "project"),
    "revlink",
)


def as_known(change: NewChange) -> Change:
    """The change as code written for Buildbot knows it; one that is so already stays the same."""
    if isinstance(change, Change):
        return change
    values: dict[str, Any] = {field.name: getattr(change, field.name) for field in fields(change)}
    values["files"] = list(change.files)
    values["when"] = change.when / 1_000_000
    values["properties"] = Properties.fromDict(change.properties, "Change")
    return Change(**values)


def chdict_of(change: NewChange) -> dict[str, Any]:
    """Its dictionary, as ``self.master.db.changes.getChange`` gives it."""
    known = as_known(change)
    return {
        "changeid": known.number,
        "parent_changeids": [],
        "author": known.who,
        **{name: getattr(known, name) for name in _SAME},
        "files": list(known.files),
        "is_dir": 0,
        "links": [],
        "when_timestamp": datetime.fromtimestamp(known.when, UTC),
        "properties": known.properties.asDict(),
        "sourcestampid": stamp_number(known),
    }


def stamp_number(change: NewChange) -> int:
    """What stands for a change's source stamp until it has a row of its own: below 0, and taken where a stamp's id is."""
    return -change.number


__getattr__ = absent(__name__)
