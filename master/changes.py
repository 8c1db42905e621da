"""Changes from outside, checked whole before anything is kept: whoever hands one over learns everything that is wrong."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from ..config import suggest
from ..db.effects import NewChange, to_json

TEXT_LIMIT = 1024
"""Bytes of UTF-8 that a short text (an author, a branch, a file's name, ...) may have at most."""
COMMENTS_LIMIT = 1024 * 1024
FILES_LIMIT = 100_000
FILES_BYTES_LIMIT = 4 * 1024 * 1024
PROPERTIES_LIMIT = 1024 * 1024

_MOST_UNKNOWN = 20

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class BadChange(ValueError):
    """The change is refused whole; ``faults`` holds everything wrong with it, each beginning with the field's name."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = list(faults)
        super().__init__("; ".join(self.faults))


class _Fault(Exception):
    """One field is wrong."""


def validated(given: Mapping[str, Any]) -> NewChange:
    """A change from its fields by name, checked and with its defaults. BadChange.

    ``who`` (or ``author``) is required; ``when`` is a time in ISO 8601 with an offset, a datetime with a zone, or
    seconds since the epoch; ``files`` is a list, ``properties`` a mapping to JSON values. Without a ``request_id`` the
    change gets one, so that it is a change of its own.
    """
    unknown = [key for key in given if key not in _FIELDS and key != "author"]
    faults = [_unknown(key) for key in unknown[:_MOST_UNKNOWN]]
    if len(unknown) > _MOST_UNKNOWN:
        faults.append(f"and {len(unknown) - _MOST_UNKNOWN} unknown fields more")
    given = {key: value for key, value in given.items() if value is not None}
    if "author" in given:
        if "who" in given:
            faults.append("author: stands beside 'who', which is the same; give one of them")
        given.setdefault("who", given["author"])
    read: dict[str, Any] = {}
    for name, (field, default) in _FIELDS.items():
        try:
            read[name] = field(given[name]) if name in given else default
        except _Fault as fault:
            faults.append(f"{name}: {fault}")
    if "who" not in given:
        faults.append("who: is missing; name the author")
    if faults:
        raise BadChange(faults)
    return NewChange(
        request_id=read["request_id"] or uuid.uuid4().hex,
        who=read["who"],
        files_json=read["files"],
        comments=read["comments"],
        branch=read["branch"],
        revision=read["revision"],
        category=read["category"],
        repository=read["repository"],
        codebase=read["codebase"],
        project=read["project"],
        properties_json=read["properties"],
        revlink=read["revlink"],
        committer=read["committer"],
        when_at=read["when"],
    )


def properties_json(value: object) -> str:
    """Properties as the database keeps them. ValueError says what is wrong with them."""
    try:
        return _properties(value)
    except _Fault as fault:
        raise ValueError(str(fault)) from None


def _unknown(key: object) -> str:
    near = suggest(key, _FIELDS)
    return f"{str(key)[:60]!r}: unknown field; " + (
        f"did you mean '{near}'?" if near else f"known are {', '.join(_FIELDS)}"
    )


def _text(limit: int, *, empty: bool = True) -> Callable[[object], str]:
    def read(value: object) -> str:
        if not isinstance(value, str):
            raise _Fault(f"expected text, got {_kind(value)}")
        if not value.strip() and not empty:
            raise _Fault("is empty")
        return _checked(value, limit)

    return read


def _checked(value: str, limit: int) -> str:
    if "\0" in value:
        raise _Fault("has a NUL character, which the database cannot keep; remove it")
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise _Fault(f"has half of a surrogate pair at character {error.start + 1}; send valid Unicode") from None
    if size > limit:
        raise _Fault(f"has {size} bytes, more than the {limit} that are kept; shorten it")
    return value


def _when(value: object) -> int:
    cure = "expected a time such as 2024-05-17T09:30:00+02:00, or seconds since the epoch"
    if isinstance(value, bool) or not isinstance(value, (int, float, str, datetime)):
        raise _Fault(f"{cure}, got {_kind(value)}")
    if isinstance(value, (int, float)):
        if not -62_135_596_800 <= value <= 253_370_764_800:  # so is what is not a number
            raise _Fault(f"{cure}; this number lies outside of the years 1 to 9999")
        return round(value * 1_000_000)
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except ValueError:
        raise _Fault(f"{cure}, got {str(value)[:60]!r}") from None
    if moment.tzinfo is None:
        raise _Fault("has no offset from UTC; write 'Z' or, say, '+02:00' behind it")
    try:
        since = moment - _EPOCH
    except OverflowError:
        raise _Fault(f"{cure}; this one lies outside of the years 1 to 9999") from None
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _files(value: object) -> str:
    if not isinstance(value, (list, tuple)):
        raise _Fault(f"expected a list of file names, got {_kind(value)}")
    if len(value) > FILES_LIMIT:
        raise _Fault(f"has {len(value)} names, more than {FILES_LIMIT}")
    read = _text(4 * TEXT_LIMIT, empty=False)
    total = 0
    for number, name in enumerate(value, 1):
        try:
            total += len(read(name))
        except _Fault as fault:
            raise _Fault(f"name {number} {fault}") from None
    if total > FILES_BYTES_LIMIT:
        raise _Fault(f"has {total} characters of names, more than {FILES_BYTES_LIMIT}")
    return to_json(list(value))


def _properties(value: object) -> str:
    if not isinstance(value, Mapping):
        raise _Fault(f"expected a mapping of names to values, got {_kind(value)}")
    for name in value:
        if not isinstance(name, str) or not name or not name.isprintable() or len(name) > 200:
            raise _Fault(f"{str(name)[:60]!r} cannot be a property's name; use up to 200 printable characters")
    for name, item in value.items():
        try:
            _check_json(item, 0)
        except _Fault as fault:
            raise _Fault(f"{name[:60]!r} {fault}") from None
    text = to_json(dict(value))
    if len(text.encode()) > PROPERTIES_LIMIT:
        raise _Fault(f"have {len(text.encode())} bytes as JSON, more than {PROPERTIES_LIMIT}")
    return text


def _check_json(value: object, depth: int) -> None:
    if depth > 50:
        raise _Fault("is nested more than 50 deep")
    if isinstance(value, str):
        _checked(value, PROPERTIES_LIMIT)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise _Fault("has a key that is not text")
            _checked(key, PROPERTIES_LIMIT)
            _check_json(item, depth + 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check_json(item, depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise _Fault("is a number that JSON does not have (infinite, or not a number)")
    elif isinstance(value, int) and abs(value) >= 10**1000:
        raise _Fault("is a number of more than a thousand digits")
    elif value is not None and not isinstance(value, (bool, int, float)):
        raise _Fault(f"is {_kind(value)}, which JSON does not have")


def _kind(value: object) -> str:
    names = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "a mapping"}
    return names.get(type(value), type(value).__name__)


_FIELDS: dict[str, tuple[Callable[[object], Any], Any]] = {
    "who": (_text(TEXT_LIMIT, empty=False), ""),
    "branch": (_text(TEXT_LIMIT), None),
    "revision": (_text(TEXT_LIMIT), None),
    "repository": (_text(4 * TEXT_LIMIT), ""),
    "codebase": (_text(TEXT_LIMIT), ""),
    "project": (_text(TEXT_LIMIT), ""),
    "category": (_text(TEXT_LIMIT), None),
    "comments": (_text(COMMENTS_LIMIT), ""),
    "revlink": (_text(4 * TEXT_LIMIT), ""),
    "committer": (_text(TEXT_LIMIT), None),
    "when": (_when, None),
    "files": (_files, "[]"),
    "properties": (_properties, "{}"),
    "request_id": (_text(TEXT_LIMIT, empty=False), ""),
}
