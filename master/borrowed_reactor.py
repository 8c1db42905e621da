"""The process's own reactor, while schedulers' code runs in a rehearsal: what it is asked for goes elsewhere.

Schedulers may use ``twisted.internet.reactor`` (``callLater``, ``LoopingCall``, ``deferToThread``). In a rehearsal that
reactor does not turn, or belongs to the test around it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

_NAMES = ("callLater", "seconds", "callFromThread", "callInThread", "getThreadPool")
_MODULE = "twisted.internet.reactor"


class TooLate(Exception):
    """The reactor was imported while schedulers' code ran, so that it could not be borrowed before."""


@contextlib.contextmanager
def borrowed_reactor(stand_in: Any) -> Iterator[None]:
    """Until the end of the block, what ``stand_in`` has of ``callLater``, ``seconds`` and those for threads stands in for
    the installed reactor's. Legal inside of itself. TooLate: it was installed inside of the block, and used."""
    reactor: Any = sys.modules.get(_MODULE)
    if reactor is None:
        yield
        installed: Any = sys.modules.get(_MODULE)
        if installed is not None and installed.getDelayedCalls():
            raise TooLate(
                "a scheduler imported twisted.internet.reactor inside of a method, and planned something with it that"
                " will never come here; import it at the top of the module, or use setTimer, which survives a takeover"
            )
        return
    own = vars(reactor)
    before = {name: own[name] for name in _NAMES if name in own}
    own.update({name: getattr(stand_in, name) for name in _NAMES})
    try:
        yield
    finally:
        for name in _NAMES:
            own.pop(name, None)
        own.update(before)
