"""Commits as git tells them, and what of each becomes a change. Strangers wrote all of it: anything may be in there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..changes import COMMENTS_LIMIT, FILES_BYTES_LIMIT, FILES_LIMIT, TEXT_LIMIT

# Each field ends with a NUL, which no field can hold; then come lines ':modes ids status' and paths, a NUL behind each.
HEADER = "%H%x00%P%x00%an <%ae>%x00%cn <%ce>%x00%ct%x00"
FORMAT = HEADER + "%B%x00"
FORMAT_WITHOUT_COMMENTS = HEADER + "%x00"
_FIELDS = 6
_NOTE_SPACE = 200


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit. ``files`` differ from its first parent; both names of a renamed one. ``when``: seconds, committed."""

    revision: str
    parents: tuple[str, ...]
    author: str
    committer: str
    when: int | None
    comments: str
    files: tuple[str, ...]
    note: str = ""

    @property
    def size(self) -> int:
        """Characters, more or less: what it takes to keep it."""
        return len(self.comments) + sum(map(len, self.files)) + 500


def parse(output: bytes) -> list[Commit]:
    """What ``git log -z --raw`` with one of the formats wrote. ValueError: it is something else."""
    return list(_commits(output))


def _commits(output: bytes) -> Iterator[Commit]:
    tokens = output.split(b"\0")
    at = 0
    while at + _FIELDS < len(tokens):
        fields = [token.decode("utf-8", "replace") for token in tokens[at : at + _FIELDS]]
        if tokens[at + _FIELDS] != b"" or len(fields[0]) not in (40, 64):
            raise ValueError("git log wrote what cannot be read")
        at += _FIELDS + 1
        files: dict[str, None] = {}
        while at + 1 < len(tokens) and tokens[at].startswith((b":", b"\n:")):
            files[tokens[at + 1].decode("utf-8", "replace")] = None
            at += 2
        revision, parents, author, committer, when, comments = fields
        yield Commit(
            revision,
            tuple(parents.split()),
            author,
            committer,
            int(when) if when.isascii() and when.isdigit() else None,
            comments.rstrip("\n"),
            tuple(files),
        )


def request_id(source: str, branch: str, revision: str) -> str:
    """The name under which a commit becomes a change, once, whoever makes it and however often."""
    readable = f"git:{source}:{branch}:{revision}"
    if len(readable.encode()) <= TEXT_LIMIT:
        return readable
    return f"git:{hashlib.sha256(f'{source}:{branch}'.encode()).hexdigest()}:{revision}"


def change_fields(commit: Commit, branch: str, common: Mapping[str, Any], revlink: str) -> dict[str, Any]:
    """A change of a commit, cut to what a change may have at most."""
    files, left_out = _fitting(commit.files)
    notes = [commit.note] if commit.note else []
    if left_out:
        notes.append(f"{left_out} more files were left out")
    return {
        **common,
        "who": _cut(commit.author, TEXT_LIMIT).strip() or "unknown",
        "committer": _cut(commit.committer, TEXT_LIMIT),
        "branch": branch,
        "revision": commit.revision,
        "when": commit.when if commit.when is not None and commit.when < 250_000_000_000 else None,
        "comments": _noted(commit.comments, notes),
        "files": files,
        "revlink": revlink,
    }


def without(commit: Commit, note: str) -> Commit:
    """A commit of which something was too long to be read."""
    return replace(commit, note=note)


def _fitting(files: tuple[str, ...]) -> tuple[list[str], int]:
    kept: list[str] = []
    left = FILES_BYTES_LIMIT
    for name in files[:FILES_LIMIT]:
        name = _cut(name, 4 * TEXT_LIMIT) if name.strip() else repr(name)
        left -= len(name)
        if left < 0:
            break
        kept.append(name)
    return kept, len(files) - len(kept)


def _noted(comments: str, notes: list[str]) -> str:
    size = len(comments.encode())
    cut = _cut(comments, COMMENTS_LIMIT - _NOTE_SPACE)
    if size > COMMENTS_LIMIT - _NOTE_SPACE:
        notes = [f"{size - len(cut.encode())} more bytes of this text were left out", *notes]
    return f"{cut}\n[{'; '.join(notes)}]" if notes else cut


def _cut(text: str, limit: int) -> str:
    raw = text.encode("utf-8", "replace")
    return text if len(raw) <= limit else raw[:limit].decode("utf-8", "ignore")
