"""``properties`` and ``results``; what tasks do is no part of a scheduler."""

from ..absent import absent

__getattr__ = absent(__name__)
