"""``OldBuildCanceller``."""

from ...cancellers import OldBuildCanceller
from ..absent import absent

__all__ = ["OldBuildCanceller"]

__getattr__ = absent(__name__)
