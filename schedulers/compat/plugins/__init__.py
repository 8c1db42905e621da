"""``schedulers``, ``util`` and ``changes`` as ``buildbot.plugins`` has them."""

from ..absent import absent
from . import changes, schedulers, util

__all__ = ["changes", "schedulers", "util"]

__getattr__ = absent(__name__)
