"""Where the results' constants were before Buildbot 0.9."""

from ..absent import absent

__getattr__ = absent(__name__)
