"""Microseconds as code written for Buildbot has times: aware datetimes, or whole seconds since the epoch."""

from __future__ import annotations

from datetime import datetime

from ..base import to_datetime


def moment(instant: int | None) -> datetime | None:
    """A time in UTC."""
    return None if instant is None else to_datetime(instant)


def seconds(instant: int | None) -> int | None:
    """Whole seconds since the epoch."""
    return None if instant is None else instant // 1_000_000
