"""``ChangeFilter``, where it was before Buildbot 0.8.3."""

from ..absent import absent
from ..changes.filter import ChangeFilter

__all__ = ["ChangeFilter"]

__getattr__ = absent(__name__)
