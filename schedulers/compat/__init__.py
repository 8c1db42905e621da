"""For schedulers that were written for Buildbot: replace ``buildbot.`` by ``locum.schedulers.compat.`` in their imports.

The modules here have the names that such code imports, and the master that it finds in ``self.master`` has what it reaches
for there; all effects join the turn like any others. What is not here says so when it is imported, and what to use instead.
``docs/from-buildbot.md`` lists it all.
"""

from __future__ import annotations

import sys

from .absent import NotHere, absent

if NotHere not in sys.meta_path:  # the last to be asked, and only for names below this package
    sys.meta_path.append(NotHere)

__getattr__ = absent(__name__)
