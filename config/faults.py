"""What is wrong with a configuration, where, and how to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from .secret import MASK, Secret, mask_credentials

SHOWN_LENGTH = 60
_MOST_FAULTS = 10_000
_MOST_SUGGESTIONS = 50
_MOST_COMPARED = 300


@dataclass(frozen=True, slots=True)
class Place:
    """A character of a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong: ``path`` is the key's, such as ``schedulers[2].name`` ('' for the whole file)."""

    place: Place
    path: str
    what: str
    cure: str = ""

    def __str__(self) -> str:
        path = f" {self.path}:" if self.path else ""
        cure = f"; {self.cure}" if self.cure else ""
        return f"{self.place}:{path} {self.what}{cure}"


class ConfigError(Exception):
    """The configuration cannot be used: ``faults`` holds everything wrong with it, sorted by place.

    Show ``str(error)``, one fault a line, to whoever wrote the file; a running master goes on as it was.
    """

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = sorted(faults, key=lambda f: (f.place.file, f.place.line, f.place.column, f.path))
        super().__init__(self.faults)
        self.partial: object = None
        """what could be read nonetheless, a MasterConfig: to find more faults in, never to run"""

    def __str__(self) -> str:
        return "\n".join(map(str, self.faults))


class Faulty(Exception):
    """What was being read has a fault that is recorded already; go on with its neighbours."""


# Positions travel as one integer: a line and a column, from 1; a column is never beyond the largest file allowed.
COLUMN_BITS = 25


def packed(line: int, column: int) -> int:
    return line << COLUMN_BITS | column


def place_of(file: str, at: int) -> Place:
    return Place(file, at >> COLUMN_BITS, at & ((1 << COLUMN_BITS) - 1))


class FaultList:
    """Gathers the faults of one file; the same sentence at the same place (shared by aliases) is one fault."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._faults: dict[tuple[int, str], Fault] = {}
        self._suggestions = 0

    def add(self, at: int, path: str, what: str, cure: str = "") -> Faulty:
        """Record a fault; ``raise`` the answer to give up what is being read.

        Raises ConfigError when there are more faults than anyone would read.
        """
        self._faults.setdefault((at, what), Fault(place_of(self.file, at), path, what, cure))
        if len(self._faults) >= _MOST_FAULTS:
            self._faults[(at, "more")] = Fault(place_of(self.file, at), "", "too many faults; no more were looked for")
            self.settle()
        return Faulty(what)

    def suggest(self, word: str, known: Collection[str]) -> str:
        """ "did you mean 'x'?", or '' when nothing known is near, or when very many were asked for."""
        self._suggestions += 1
        if self._suggestions > _MOST_SUGGESTIONS:
            return ""
        near = suggest(word, known)
        return f"did you mean '{near}'?" if near else ""

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._faults.values())

    def settle(self) -> None:
        """Raise ConfigError if any fault was recorded."""
        if self._faults:
            raise ConfigError(self)


def suggest(word: object, known: Iterable[str]) -> str | None:
    """The one of ``known`` that whoever wrote ``word`` most likely meant, or None."""
    if not isinstance(word, str) or not 0 < len(word) <= 100:
        return None
    plain = _plain(word)
    known = list(known)
    for candidate in known:
        if _plain(candidate) == plain:
            return candidate
    if len(known) <= _MOST_COMPARED:
        return next(iter(difflib.get_close_matches(word, known, n=1)), None)
    names = set(known)  # comparing with thousands would take long: only slips of one letter are looked for
    letters = sorted(set(word) | set("abcdefghijklmnopqrstuvwxyz0123456789-_."))
    return next((slip for slip in _slips(word, letters) if slip in names), None)


def _slips(word: str, letters: list[str]) -> Iterator[str]:
    """Every text one letter away from ``word``: two swapped, one missing, one too many, one changed."""
    halves = [(word[:at], word[at:]) for at in range(len(word) + 1)]
    yield from (a + b[1] + b[0] + b[2:] for a, b in halves if len(b) > 1)
    yield from (a + letter + b for a, b in halves for letter in letters)
    yield from (a + b[1:] for a, b in halves if b)
    yield from (a + letter + b[1:] for a, b in halves if b for letter in letters)


def _plain(word: str) -> str:
    return word.lower().replace("_", "").replace("-", "")


def shown(value: object) -> str:
    """``value`` for a person: cut to about 60 characters, control characters escaped, credentials masked."""
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, str):
        text = repr(mask_credentials(value if "://" in value else value[:1000]))
    else:
        text = mask_credentials(repr(value))
    return text if len(text) <= SHOWN_LENGTH else text[: SHOWN_LENGTH - 3] + "..."
