"""``ChangeFilter``, where code written for Buildbot looks for it."""

from ...filters import ChangeFilter
from ..absent import absent

__all__ = ["ChangeFilter"]

__getattr__ = absent(__name__)
