"""A small disk in memory, which can be filled."""

from __future__ import annotations

import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path


class Disk:
    """``folder`` as a disk of its own (a tmpfs), if this process may mount one; else it is a folder like any other."""

    def __init__(self, folder: Path, size_mb: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.small = may_mount() and _mount(folder, size_mb)
        self._ballast = folder / "ballast"

    def fill(self) -> int:
        """Leave no room on it; how many bytes were taken."""
        if not self.small:
            raise AssertionError(f"{self.folder} is on a disk that others use, too")
        room = os.statvfs(self.folder)
        taken, piece = 0, room.f_bavail * room.f_frsize
        with self._ballast.open("wb") as file:
            while piece >= room.f_frsize:  # whoever else writes here may take some of what was free just now
                try:
                    os.posix_fallocate(file.fileno(), taken, piece)
                    taken += piece
                except OSError:
                    piece //= 2
        return taken

    def empty(self) -> None:
        """Give the room back."""
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount it; what was on it is gone. Legal twice."""
        if self.small:
            subprocess.run(["umount", str(self.folder)], check=True, capture_output=True)
            self.small = False


@cache
def may_mount() -> bool:
    """Whether this process may mount a disk in memory."""
    if os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as folder:
        if not _mount(Path(folder), 1):
            return False
        subprocess.run(["umount", folder], check=True, capture_output=True)
        return True


def _mount(folder: Path, size_mb: int) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m,mode=755", "locum-torture", str(folder)]
    return not subprocess.run(command, check=False, capture_output=True).returncode
