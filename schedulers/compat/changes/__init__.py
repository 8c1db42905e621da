"""``changes`` and ``filter``; change sources stand in the YAML."""

from ..absent import absent

__getattr__ = absent(__name__)
