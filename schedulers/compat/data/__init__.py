"""``resultspec``, whose filters ``self.master.data.get`` takes."""

from ..absent import absent

__getattr__ = absent(__name__)
