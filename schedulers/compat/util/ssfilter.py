"""``SourceStampFilter``, where code written for Buildbot looks for it."""

from ...filters import SourceStampFilter
from ..absent import absent
from ..changes.filter import ChangeFilter

__all__ = ["ChangeFilter", "SourceStampFilter"]

__getattr__ = absent(__name__)
