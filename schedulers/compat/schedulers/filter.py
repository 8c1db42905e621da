"""``ChangeFilter``, where it was before Buildbot 0.8.3."""

from ...filters import ChangeFilter
from ..absent import absent

__all__ = ["ChangeFilter"]

__getattr__ = absent(__name__)
