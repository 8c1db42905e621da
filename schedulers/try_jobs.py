"""Try jobs: somebody's diff against a revision, to be built before it is committed. JSON, or Buildbot's netstrings."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from .arguments import checked_properties
from .patches import level_fault, subdir_fault, text_fault

LARGEST_JOB = 20 * 1024 * 1024
LONGEST_TEXT = 4096
"""Characters of a short text; a comment may have ``LONGEST_COMMENT``."""
LONGEST_COMMENT = 64 * 1024
_LEVEL = re.compile(r"[0-9]{1,3}")
_NETSTRING = re.compile(rb"([0-9]{1,9}):")
# The older forms: what stands where, before the builders' names.
_LAYOUTS: Mapping[bytes, tuple[str, ...]] = {
    b"1": ("jobid", "branch", "baserev", "patch_level", "patch_body"),
    b"2": ("jobid", "branch", "baserev", "patch_level", "patch_body", "repository", "project"),
    b"3": ("jobid", "branch", "baserev", "patch_level", "patch_body", "repository", "project", "who"),
    b"4": ("jobid", "branch", "baserev", "patch_level", "patch_body", "repository", "project", "who", "comment"),
}


class BadJob(ValueError):
    """A try job that cannot be built; the text says why, for whoever made it."""


@dataclass(frozen=True, slots=True)
class TryJob:
    """``patch`` is the diff, None: none; ``builders`` empty: all of the scheduler's. ``origin``: where the diff's own
    checkout came from, for when nobody names a repository."""

    jobid: str = ""
    branch: str | None = None
    baserev: str | None = None
    patch: bytes | None = field(default=None, repr=False)
    patch_level: int = 1
    patch_subdir: str = ""
    repository: str = ""
    origin: str = ""
    project: str = ""
    codebase: str = ""
    who: str = ""
    comment: str = ""
    builders: tuple[str, ...] = ()
    properties: Mapping[str, Any] = field(default_factory=dict)

    def to_mapping(self) -> dict[str, Any]:
        """The JSON form."""
        found = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "patch"}
        found |= {"builders": list(self.builders), "properties": dict(self.properties)}
        if self.patch is not None:
            found["patch_body_base64"] = base64.b64encode(self.patch).decode("ascii")
        return found


_TEXTS = ("jobid", "branch", "baserev", "patch_subdir", "repository", "origin", "project", "codebase", "who", "comment")
_KNOWN = (*_TEXTS, "patch_level", "patch_body", "patch_body_base64", "builders", "properties")


def read_job(data: bytes) -> TryJob:
    """The job in a file. BadJob."""
    if len(data) > LARGEST_JOB:
        raise BadJob(f"it is larger than {LARGEST_JOB >> 20} MB")
    if _NETSTRING.match(data):
        return _from_netstrings(data)
    return job_of(_json(data))


def job_of(given: Any) -> TryJob:
    """The job of a JSON mapping. BadJob."""
    if not isinstance(given, Mapping):
        raise BadJob("expected a JSON object")
    unknown = [key for key in given if key not in _KNOWN]
    if unknown:
        raise BadJob(f"{unknown[0]}: unknown key; known are {', '.join(_KNOWN)}")
    values: dict[str, Any] = {key: _text(key, given[key]) for key in _TEXTS if given.get(key) is not None}
    for key in ("branch", "baserev"):
        values[key] = values.get(key) or None
    level = given.get("patch_level", 1)
    for key, fault in (
        ("patch_level", level_fault(level)),
        ("patch_subdir", subdir_fault(values.get("patch_subdir", ""))),
    ):
        if fault:
            raise BadJob(f"{key}: {fault}")
    builders = given.get("builders") or []
    if not isinstance(builders, list) or not all(isinstance(name, str) for name in builders):
        raise BadJob(f"builders: expected a list of names, got {builders!r:.60}")
    try:
        properties = checked_properties(given.get("properties") or None)
    except (TypeError, ValueError) as error:
        raise BadJob(f"{error!s:.200}") from None
    return TryJob(**values, patch=_patch(given), patch_level=level, builders=tuple(builders), properties=properties)


def _patch(given: Mapping[str, Any]) -> bytes | None:
    encoded = given.get("patch_body_base64")
    if encoded is not None:
        try:
            return base64.b64decode(_text("patch_body_base64", encoded), validate=True)
        except binascii.Error:
            raise BadJob("patch_body_base64: it is not base64") from None
    body = given.get("patch_body")
    return None if not body else _text("patch_body", body).encode()


def _text(key: str, value: Any) -> str:
    fault = text_fault(value, nul=key == "patch_body")
    if fault:
        raise BadJob(f"{key}: {fault}")
    most = {"comment": LONGEST_COMMENT}.get(key, LONGEST_TEXT if key in _TEXTS else LARGEST_JOB)
    if len(value) > most:
        raise BadJob(f"{key}: it has {len(value):,} characters; {most:,} are the most")
    return str(value)


def _json(data: bytes) -> Any:
    try:
        return json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise BadJob(f"it is neither JSON nor netstrings: {error}") from None


def _from_netstrings(data: bytes) -> TryJob:
    version, *parts = _netstrings(data)
    if version in (b"5", b"6"):
        if len(parts) != 1:
            raise BadJob(f"a job of version {version.decode()} is one JSON object, got {len(parts)} parts")
        return job_of(_json(parts[0]))
    layout = _LAYOUTS.get(version)
    if layout is None:
        raise BadJob(f"unknown version {version[:20]!r}; known are 1 to 6")
    if len(parts) < len(layout):
        raise BadJob(f"a job of version {version.decode()} has at least {len(layout)} parts, got {len(parts)}")
    given: dict[str, Any] = {}
    for key, part in zip(layout, parts, strict=False):
        if key == "patch_body":
            given["patch_body_base64"] = base64.b64encode(part).decode("ascii") if part else None
        else:
            given[key] = _decoded(key, part)
    if not _LEVEL.fullmatch(given["patch_level"]):  # isdigit() holds for more than int() reads
        raise BadJob(f"patch_level: expected a whole number, got {given['patch_level']!r:.40}")
    given["patch_level"] = int(given["patch_level"])
    given["builders"] = [_decoded("builders", part) for part in parts[len(layout) :]]
    return job_of({key: value for key, value in given.items() if value is not None})


def _decoded(key: str, part: bytes) -> str:
    try:
        return part.decode()
    except UnicodeDecodeError:
        raise BadJob(f"{key}: it is not UTF-8 text") from None


def _netstrings(data: bytes) -> list[bytes]:
    found = []
    at = 0
    data = data.rstrip(b"\r\n")
    while at < len(data):
        head = _NETSTRING.match(data, at)
        end = head.end() + int(head[1]) if head else -1
        if head is None or data[end : end + 1] != b",":
            raise BadJob(f"it is cut off or no netstring at byte {at}")
        found.append(data[head.end() : end])
        at = end + 1
    return found
