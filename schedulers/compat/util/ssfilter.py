"""``SourceStampFilter``, where code written for Buildbot looks for it."""

from ...filters import ChangeFilter, SourceStampFilter
from ..absent import absent

__all__ = ["ChangeFilter", "SourceStampFilter"]

__getattr__ = absent(__name__)
