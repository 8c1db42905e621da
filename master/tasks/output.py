"""A step's output on its way into the database: text in order, bounded, without secrets, soon but not piecemeal."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from ...config.secret import MASK

PIECE = 64 * 1024
"""The longest text that is written as one row."""
FLUSH_S = 0.5
"""How long output may wait to be written together with more."""
HOLD_MOST = 4 * 2**20
"""How much is held in memory while the database is away; then the command has to wait."""


class Output:
    """One step's output. ``put(text, sequence, done)`` is given each piece; it calls ``done`` once that is in the database.

    Whoever writes calls ``write``; ``full`` tells when to wait until ``drained`` is called.
    """

    def __init__(
        self,
        reactor: Any,
        put: Callable[[str, int, Callable[[], None]], None],
        limit: int,
        secrets: Iterable[str] = (),
        drained: Callable[[], None] = lambda: None,
    ) -> None:
        self._reactor = reactor
        self._put = put
        self._limit = limit
        self._left = limit
        """bytes that are still kept; -1 once it has been said that more were dropped"""
        self._secrets = _Masking(secrets)
        self._drained = drained
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._waiting: list[str] = []
        self._length = 0
        self._sequence = 0
        self._held = 0
        self._call: Any = None
        self._at_line_start = True

    @property
    def full(self) -> bool:
        """Whether more than enough waits to be written."""
        return self._held >= HOLD_MOST

    def hide(self, secrets: Iterable[str]) -> None:
        """Replace these too from here on."""
        self._secrets.add(secrets)

    def write(self, data: bytes) -> None:
        """Take in what a command wrote, in pieces of any size."""
        if self._left >= 0:
            self._add(self._secrets.masked(self._decoder.decode(data)))

    def line(self, text: str) -> None:
        """A line of our own among the command's."""
        self.settle()
        if self._left >= 0:
            self._add(self._secrets.whole(("" if self._at_line_start else "\n") + text.rstrip("\n") + "\n"))

    def settle(self) -> None:
        """No more comes of this command: half a letter or half a secret is what it is."""
        if self._left >= 0:
            self._add(self._secrets.masked(self._decoder.decode(b"", final=True), final=True))
        self._decoder.reset()

    def close(self) -> None:
        """Hand over all that is left."""
        self.settle()
        self._flush()

    def _add(self, text: str) -> None:
        if not text:
            return
        text = text.replace("\0", "\ufffd")  # PostgreSQL cannot hold it
        size = len(text.encode("utf-8", "replace"))
        if size > self._left:
            text = text.encode("utf-8", "replace")[: self._left].decode("utf-8", "ignore")
            text += f"\n... output beyond {self._limit} bytes dropped\n"
            self._left = -1
        else:
            self._left -= size
        self._at_line_start = text.endswith("\n")
        self._waiting.append(text)
        self._length += len(text)
        self._held += len(text)
        if self._length >= PIECE:
            self._flush()
        elif self._call is None:
            self._call = self._reactor.callLater(FLUSH_S, self._flush)

    def _flush(self) -> None:
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        text, self._waiting, self._length = "".join(self._waiting), [], 0
        for start in range(0, len(text), PIECE):
            piece = text[start : start + PIECE]
            self._put(piece, self._sequence, partial(self._written, len(piece)))
            self._sequence += 1

    def _written(self, length: int) -> None:
        was_full = self.full
        self._held -= length
        if was_full and not self.full:
            self._drained()


class _Masking:
    """Replaces secrets in a stream; what may be the beginning of one waits for what follows."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._known: list[str] = []
        self._kept = ""
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        # Shorter ones would hide every other letter, and say so which.
        self._known = sorted({*self._known, *(s for s in secrets if len(s) >= 4)}, key=len, reverse=True)

    def whole(self, text: str) -> str:
        for secret in self._known:
            text = text.replace(secret, MASK)
        return text

    def masked(self, text: str, *, final: bool = False) -> str:
        if not self._known:
            return text
        text = self.whole(self._kept + text)
        keep = 0 if final else self._beginning(text)
        self._kept = text[len(text) - keep :]
        return text[: len(text) - keep]

    def _beginning(self, text: str) -> int:
        """How many letters at the end of ``text`` are the beginning of a secret."""
        longest = 0
        for secret in self._known:
            for length in range(min(len(secret) - 1, len(text)), longest, -1):
                if text.endswith(secret[:length]):
                    longest = length
                    break
        return longest
