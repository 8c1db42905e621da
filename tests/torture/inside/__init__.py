"""What runs inside of the masters of a run: its folder is in their ``PYTHONPATH``, for ``sitecustomize``."""

VARIABLE = "LOCUM_TORTURE_INSIDE"
