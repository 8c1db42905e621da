"""The process's own reactor, while schedulers' code runs in a rehearsal: what it is asked for goes elsewhere.

Schedulers may use ``twisted.internet.reactor`` (``callLater``, ``LoopingCall``, ``deferToThread``). In a rehearsal that
reactor does not turn, or belongs to the test around it.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

_NAMES = ("callLater", "seconds", "callFromThread", "callInThread", "getThreadPool")


@contextlib.contextmanager
def borrowed_reactor(stand_in: Any) -> Iterator[None]:
    """Until the end of the block, what ``stand_in`` has of ``callLater``, ``seconds`` and those for threads stands in for
    the installed reactor's. Legal inside of itself. One is installed if none is."""
    # Else schedulers' code would be the first to import it, as deferToThread does, and get one that was never borrowed.
    reactor: Any = importlib.import_module("twisted.internet.reactor")
    own = vars(reactor)
    before = {name: own[name] for name in _NAMES if name in own}
    own.update({name: getattr(stand_in, name) for name in _NAMES})
    try:
        yield
    finally:
        for name in _NAMES:
            own.pop(name, None)
        own.update(before)
