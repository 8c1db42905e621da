"""``Try_Jobdir`` and ``Try_Userpass``."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from ...try_jobs import BadJob as BadJobfile
from ...trying import TryBase
from ..absent import absent

__all__ = ["BadJobfile", "TryBase"]

_absent = absent(__name__)


def __getattr__(name: str) -> Any:
    # These two listen and read folders, so they belong to the master; they are found as every scheduler class is.
    if name in ("Try_Jobdir", "Try_Userpass"):
        for point in entry_points(group="locum.schedulers", name=name):
            return point.load()
    return _absent(name)
