"""``Dependent``."""

from ... import dependent as new
from ..absent import absent
from . import base

__all__ = ["Dependent"]


class Dependent(base.BaseScheduler, new.Dependent):
    """When a buildset of another scheduler succeeds, one for the same source stamps."""


__getattr__ = absent(__name__)
