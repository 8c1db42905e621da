"""What the nemesis stands on: fail points that are there, a reactor's thread that can be blocked, a disk that can be filled."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import locum
import pytest
from locum.tests.torture import nemesis_disk
from locum.tests.torture.failpoints import POINTS
from locum.tests.torture.nemesis_ground import Ground

ROOT = Path(locum.__file__).parent
SOURCE = "\n".join(path.read_text() for room in ("db", "master") for path in sorted((ROOT / room).rglob("*.py")))


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.name)
def test_every_fail_point_is_in_the_source(point: object) -> None:
    name = point.name.rpartition(".")[0]  # type: ignore[attr-defined]
    written = rf"\.(write|single)\(\s*(\w+\.)?_?{name}\b"
    assert re.search(written, SOURCE) or f'reach("{point.name}")' in SOURCE  # type: ignore[attr-defined]


def test_a_process_is_blocked_just_as_long_as_it_should_be_and_only_when_it_is_ready(tmp_path: Path) -> None:
    ground = Ground(tmp_path, None, None, {}, {})
    ticking = "import time\nwhile True:\n time.sleep(0.01)\n print(time.monotonic(), flush=True)"
    environment = {**os.environ, **ground.env_of("m1")}
    with subprocess.Popen([sys.executable, "-c", ticking], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        before = float(process.stdout.readline())
        assert ground.block(process.pid, 0.5)
        now = before
        while now - before < 0.4:
            before, now = now, float(process.stdout.readline())
            assert now < time.monotonic() + 10
        assert 0.5 <= now - before < 10
        assert not list(ground.own.glob("block-*")), "it was read and taken away"
        process.kill()
    with subprocess.Popen([sys.executable, "-c", ticking], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert not ground.block(process.pid, 0.5), "one that is not ready would be killed by the signal"
        assert process.poll() is None
        process.kill()


def test_a_disk_is_full_until_it_is_emptied(tmp_path: Path) -> None:
    disk = nemesis_disk.Disk(tmp_path / "disk", 2)
    if not disk.small:
        pytest.skip("this process may not mount a tmpfs")
    try:
        (disk.folder / "some").write_bytes(b"x" * 300_000)
        assert disk.fill() > 1_000_000
        with pytest.raises(OSError, match="No space left"):
            (disk.folder / "more").write_bytes(b"x" * 10_000)
        disk.empty()
        (disk.folder / "more").write_bytes(b"x" * 10_000)
    finally:
        disk.close()
    assert not list(disk.folder.iterdir())
    disk.close()
