"""CPU limits by control groups (version 1 or 2), as a container engine sets them."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
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
        # Whatever else runs on the machine waits for what is measured.
        weight = ("cpu.shares", 262144) if self._version_1 else ("cpu.weight", 10000)
        (self._path / weight[0]).write_text(str(weight[1]))

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

    def cpu_seconds(self) -> float:
        """Return the CPU time of the threads that are in the group now."""
        files = [
            file
            for pid in self.processes()
            for file in Path(f"/proc/{pid}/task").glob("*/schedstat")
        ]
        return sum(int(file.read_text().split()[0]) for file in files) / 1e9

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


@contextmanager
def run_in_group(
    command: list[str],
    environment: Mapping[str, str],
    own: Path,
    cpu: int,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
) -> Iterator[tuple[CpuGroup, "subprocess.Popen[str]"]]:
    """Run a command on one processor, in a control group of its own that has no limit yet.

    Args:
        command: The command.
        environment: Its environment variables.
        own: Its working directory, whose name the group gets; standard error goes into ``log``.
        cpu: The processor's number.
        stdin: As of ``subprocess.Popen``.
        stdout: As of ``subprocess.Popen``.
    """
    group = CpuGroup(f"bench-{os.getpid()}-{own.name}")

    def enter() -> None:
        group.enter()
        os.sched_setaffinity(0, {cpu})

    try:
        with (own / "log").open("w") as log:
            process = subprocess.Popen(
                command,
                env=dict(environment),
                cwd=own,
                stdin=stdin,
                stdout=stdout,
                stderr=log,
                start_new_session=True,
                preexec_fn=enter,
                text=True,
            )
        with process:
            try:
                yield group, process
            finally:
                group.kill()
    finally:
        group.remove()
