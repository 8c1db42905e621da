"""The schedulers of times: ``Periodic``, ``Nightly``, ``NightlyTriggerable``."""

from __future__ import annotations

from typing import Any

from ... import timed as new
from ... import triggerable
from ...hooks import answered, hook
from ..absent import absent
from . import base
from .triggerable import Triggers

__all__ = ["Nightly", "NightlyBase", "NightlyTriggerable", "Periodic", "Timed"]


class Timed(base.BaseScheduler, new.Timed):
    """With the hook that such code overrides: ``startBuild``, which asks for the work of one due time."""

    _nominal: int | None = None

    @hook
    async def fire(self, nominal: int | None) -> None:
        self._nominal = nominal
        await answered(self.startBuild())

    def startBuild(self) -> Any:
        """A buildset for the due time that is being served."""
        return super().fire(self._nominal)


class Periodic(Timed, new.Periodic):
    """Every so often."""


class NightlyBase(Timed, new.CalendarTimed):
    """By the calendar."""


class Nightly(NightlyBase, new.Nightly):
    """By the calendar, with what Periodic has for changes."""


class NightlyTriggerable(Triggers, NightlyBase, triggerable.NightlyTriggerable):
    """At Nightly's times what the last trigger handed over."""


__getattr__ = absent(__name__)
