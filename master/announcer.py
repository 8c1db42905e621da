"""Announcing what is new, coalesced: while one announcement is on its way, all that comes joins the next."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..db import wakeups
from .surroundings import RemoteDatabase


class Announcer:
    """Wakes this master at once and the others through the database. What gets lost is found seconds later anyway."""

    def __init__(self, remote: RemoteDatabase, here: Callable[[set[str]], None]) -> None:
        self._remote = remote
        self._here = here
        self._topics: set[str] = set()
        self._saying = False

    def say(self, topics: Iterable[str]) -> None:
        """There is something new about these topics."""
        topics = set(topics)
        self._here(topics)
        self._topics |= topics
        if not self._saying:
            self._say()

    def _say(self) -> None:
        topics, self._topics = self._topics, set()
        self._saying = True
        self._remote.single(wakeups.announce, topics).addErrback(lambda failure: None).addCallback(self._said)

    def _said(self, _: Any) -> None:
        self._saying = False
        if self._topics:
            self._say()
