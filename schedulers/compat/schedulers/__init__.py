"""The schedulers, module by module as Buildbot has them."""

from ..absent import absent

__getattr__ = absent(__name__)
