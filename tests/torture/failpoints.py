"""The fail points that a run uses, and how often each may be passed before it strikes.

``python -m tests.torture --faults fail-point`` crashes and freezes masters at all of them; ``LOCUM_FAIL_POINT=trace`` in
the environment of a master tells which ones it comes to (a test compares).
"""

from __future__ import annotations

_OFTEN = ("before", "after")

WRITES: dict[str, int] = {
    # turns
    "add_stamps": 8,
    "commit": 40,
    # membership, renewal
    "join": 1,
    "beat": 10,
    "declare_lost": 1,
    "declare_crashed": 1,
    "set_crash_key": 1,
    "terminate_sessions": 1,
    "stopping": 1,
    "stopped": 1,
    # taking, retaking, giving up
    "register": 1,
    "stand_by": 1,
    "holds": 2,
    "takeable": 3,
    "take_and_load": 1,
    "take_back": 1,
    "record_and_take_back": 1,
    "release_and_announce": 1,
    # tasks
    "claim": 8,
    "record": 20,
    "lost": 1,
    "requeue_forgotten": 1,
    # the rest
    "announce": 20,
    "reserve": 2,
    "answer_order": 1,
    "set_digest": 1,
}
"""What the product's writes run -> how often it is passed at most before the point strikes."""

POINTS: dict[str, int] = {
    **{f"{name}.{moment}": most for name, most in WRITES.items() for moment in _OFTEN},
    "commit.told": 40,
    "command.before": 6,
    "command.after": 6,
    "command.ended": 6,
}
"""Every point -> the same."""
