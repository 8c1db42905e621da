"""``python tests/fuzz/hunt.py TARGET [--seconds N] [--corpus FOLDER]``: bytes that reach new code, by atheris.

By its path, not with ``-m``: what is imported before atheris is there is not watched. Not run with the tests. ``pip install '.[fuzz]'`` brings atheris; what it finds gets a test of its own in ``test_inputs.py``.
"""

from __future__ import annotations

import argparse
import sys


def main() -> None:
    import atheris

    with atheris.instrument_imports(include=["locum"]):
        from locum.tests.fuzz.targets import LARGEST, TARGETS
    from locum.tests.fuzz.test_inputs import WORDS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--corpus", default="")
    given = parser.parse_args()

    def one(data: bytes) -> None:
        provider = atheris.FuzzedDataProvider(data)
        if provider.ConsumeBool():
            TARGETS[given.target](provider.ConsumeBytes(LARGEST))
            return
        words = [word.encode() for word in WORDS[given.target].split()] + [b" ", b"\n", b"\n  ", b": "]
        parts = []
        while provider.remaining_bytes():
            parts.append(provider.PickValueInList(words) if provider.ConsumeBool() else provider.ConsumeBytes(4))
        TARGETS[given.target](b"".join(parts))

    options = [f"-max_total_time={given.seconds}", "-max_len=4096", "-timeout=20", "-rss_limit_mb=2048"]
    atheris.Setup([sys.argv[0], *options, *([given.corpus] if given.corpus else [])], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
