"""CPU limits by control groups (version 1 or 2), as a container engine sets them."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

PERIOD_MICROSECONDS = 10_000
_VERSION_1 = Path("/sys/fs/cgroup/cpu")
_VERSION_2 = Path("/sys/fs/cgroup")
_GONE_SECONDS = 10


class CpuGroup:
    """A control group of this machine; made at once, without a limit.

    Args:
        name: Its name.

    Raises:
        OSError: It cannot be made: it takes root, and a writable control group file system.
    """

    def __init__(self, name: str) -> None:
        self._version_1 = _VERSION_1.is_dir()
        self._path = (_VERSION_1 if self._version_1 else _VERSION_2) / name
        if not self._version_1:
            (_VERSION_2 / "cgroup.subtree_control").write_text("+cpu")
        self._path.mkdir(exist_ok=True)

    def enter(self) -> None:
        """Move the calling process into the group."""
        (self._path / "cgroup.procs").write_text(str(os.getpid()))

    def limit(self, cpus: float) -> None:
        """Limit the group to a share of a processor, in periods as the platform has them."""
        quota = round(cpus * PERIOD_MICROSECONDS)
        if self._version_1:
            (self._path / "cpu.cfs_period_us").write_text(str(PERIOD_MICROSECONDS))
            (self._path / "cpu.cfs_quota_us").write_text(str(quota))
        else:
            (self._path / "cpu.max").write_text(f"{quota} {PERIOD_MICROSECONDS}")

    def processes(self) -> list[int]:
        """Return the processes in the group."""
        return [int(line) for line in (self._path / "cgroup.procs").read_text().split()]

    def kill(self) -> None:
        """Kill every process in the group."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def remove(self) -> None:
        """Remove the group, once its last process is gone."""
        deadline = time.monotonic() + _GONE_SECONDS
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.05)
        self._path.rmdir()
