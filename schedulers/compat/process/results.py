"""Results as numbers, as code written for Buildbot compares them; and from and to Locum's words."""

from __future__ import annotations

from collections.abc import Mapping

from ..absent import absent

__all__ = [
    "ALL_RESULTS",
    "CANCELLED",
    "EXCEPTION",
    "FAILURE",
    "RETRY",
    "SKIPPED",
    "SUCCESS",
    "WARNINGS",
    "Results",
    "number_of",
    "statusToString",
    "worst_status",
]

ALL_RESULTS = tuple(range(7))
SUCCESS, WARNINGS, FAILURE, SKIPPED, EXCEPTION, RETRY, CANCELLED = ALL_RESULTS
Results = ["success", "warnings", "failure", "skipped", "exception", "retry", "cancelled"]

_NUMBERS: Mapping[str, int] = {name: number for number, name in enumerate(Results)}
_WORST_FIRST = (CANCELLED, RETRY, EXCEPTION, FAILURE, WARNINGS, SUCCESS, SKIPPED)


def number_of(result: str | None) -> int | None:
    """The number of one of Locum's results; None: there is none yet."""
    return None if result is None else _NUMBERS.get(result, EXCEPTION)


def statusToString(status: int | None) -> str:
    """A result's word."""
    if status is None:
        return "not finished"
    return Results[status] if 0 <= status < len(Results) else f"Invalid status {status}"


def worst_status(a: int, b: int) -> int:
    """The worse of two results."""
    return min((a, b), key=_WORST_FIRST.index)


__getattr__ = absent(__name__)
