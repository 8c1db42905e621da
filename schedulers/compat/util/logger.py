"""``Logger``, where code written for Buildbot looks for it."""

from twisted.logger import Logger

from ..absent import absent

__all__ = ["Logger"]

__getattr__ = absent(__name__)
