"""``FailingBuildsetCanceller``."""

from ...cancellers import FailingBuildsetCanceller
from ..absent import absent

__all__ = ["FailingBuildsetCanceller"]

__getattr__ = absent(__name__)
