"""A disk that can be filled: a small tmpfs, mounted by root here, by anybody else in a namespace of the process.

Whoever may not mount runs the service in a user and mount namespace of its own, where it may; we reach the disk through
/proc. Where neither is allowed the test fails and says so.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from examples.demo.processes import Service

MEGABYTES = 192


class SmallDisk:
    """A directory of MEGABYTES, which a service may keep its data in."""

    def __init__(self, directory: Path, *, ours: bool) -> None:
        self.directory = directory
        self._ours = ours
        self._service: Service | None = None

    def serve_on_it(self, service: Service) -> None:
        """Let a service that is not started yet see the disk."""
        self._service = service
        if not self._ours:
            mount = f"mount -t tmpfs -o size={MEGABYTES}m,mode=755 tmpfs {self.directory}"
            namespace = ["unshare", "--user", "--map-current-user", "--keep-caps", "--mount"]
            service.run_within([*namespace, "sh", "-c", f'{mount} && exec "$@"', "sh"])

    def fill(self, leave_bytes: int) -> None:
        """Write until only this much is left."""
        free = shutil.disk_usage(self._seen).free
        with (self._seen / "ballast").open("wb") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, max(1, free - leave_bytes))

    def clear(self) -> None:
        """Give back what `fill` has taken."""
        (self._seen / "ballast").unlink()

    def read(self, name: str) -> str:
        """Return the text of a file on it."""
        return (self._seen / name).read_text()

    @property
    def _seen(self) -> Path:
        """Return the disk as we can reach it."""
        if self._ours or self._service is None:
            return self.directory
        return Path(f"/proc/{self._service.pid}/root") / self.directory.relative_to("/")


@contextmanager
def small_disk(directory: Path) -> Iterator[SmallDisk]:
    """Make a small disk below an empty directory."""
    directory.mkdir(mode=0o755)
    if os.geteuid() != 0:
        yield SmallDisk(directory, ours=False)
        return
    options = ["-t", "tmpfs", "-o", f"size={MEGABYTES}m,mode=755", "tmpfs", str(directory)]
    subprocess.run(["mount", *options], check=True)
    try:
        yield SmallDisk(directory, ours=True)
    finally:
        subprocess.run(["umount", str(directory)], check=True)
