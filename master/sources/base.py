"""``ChangeSource``: what every change source is a subclass of. Clustered like a scheduler: only the active instance works."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from ...schedulers.base import Clustered
from ..surroundings import Surroundings


class ChangeSource(Clustered):
    """Watches something outside and makes changes of what happens there.

    ``workdir`` is this source's own folder on this master, a cache: it may be missing, empty or deleted at any time.
    What must survive is kept by ``setState``, in the turn that makes the changes.
    """

    compare_attrs: ClassVar[Sequence[str]] = ()

    surroundings: Surroundings
    workdir: Path

    def equip(self, surroundings: Surroundings, workdir: Path) -> None:
        """Called once by the master, right after construction; ``workdir`` is that of all sources."""
        self.surroundings = surroundings
        self.workdir = workdir / _folder(self.name)

    async def tell(self, ok: bool, text: str) -> None:
        """Keep what ``locum status`` shows of this source, as state ``status``: {ok, text, at}. Writes only what is new."""
        shown: dict[str, Any] | None = await self.getState("status", None)
        if shown is None or (shown["ok"], shown["text"]) != (ok, text):
            await self.setState("status", {"ok": ok, "text": text, "at": self.now().isoformat()})


def _folder(name: str) -> str:
    """A folder's name for any name: readable, valid, and no two alike."""
    readable = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:40]
    return f"{readable}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
