"""The database's time, carried forward on this host, for everything that recurs."""

from __future__ import annotations

from .surroundings import Surroundings


class DatabaseClock:
    """The database's wall time as last heard of, plus what CLOCK_BOOTTIME counted since. Never goes back by itself.

    A step of the database's clock backwards is followed at half speed: for that long, time here passes slower.
    """

    def __init__(self, surroundings: Surroundings) -> None:
        self._clocks = surroundings.clocks
        self._offset_us: int | None = None
        self._last = 0
        self._last_at = 0

    @property
    def known(self) -> bool:
        """Whether the database has been heard of yet."""
        return self._offset_us is not None

    def heard(self, database_now: int, asked_us: int, answered_us: int) -> None:
        """The database said ``database_now`` somewhere between two readings of CLOCK_BOOTTIME (microseconds).

        So its clock is at least ``database_now - answered_us`` ahead, and at most ``database_now - asked_us``. The most
        that is certain is believed, and a slow answer does not loosen it: nothing fires early, nor late for long.
        """
        least, most = database_now - answered_us, database_now - asked_us
        if self._offset_us is None or self._offset_us > most:  # the first, or the database's clock was set back
            self._offset_us = least
        else:
            self._offset_us = max(self._offset_us, least)

    def now(self) -> int:
        """Microseconds since the epoch."""
        if self._offset_us is None:
            raise RuntimeError("the database's time is not known yet: no heartbeat has been answered")
        here = self._clocks.boottime_us()
        slowly = self._last + (here - self._last_at + 1) // 2  # at half speed, but never standing still
        self._last, self._last_at = max(slowly, here + self._offset_us), here
        return self._last

    def host_offset_us(self) -> int:
        """This host's wall clock minus the database's."""
        return 0 if self._offset_us is None else self._clocks.wall_us() - self._clocks.boottime_us() - self._offset_us
