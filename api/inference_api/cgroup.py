"""How long the kernel held this container back, read from its cgroup (version 1 or 2)."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CpuThrottling:
    """The CPU controller's counters since the cgroup was made.

    Attributes:
        periods: Enforcement periods in which the cgroup ran.
        throttled_periods: Those of them in which it used up its quota.
        throttled_seconds: How long its threads were kept from running.
    """

    periods: int
    throttled_periods: int
    throttled_seconds: float


def find_cpu_stat(proc: Path = Path("/proc/self")) -> Path | None:
    """Find this process's ``cpu.stat``.

    The hierarchies and where they are mounted differ by version and by whether the container
    has a cgroup namespace, so both are looked up.

    Args:
        proc: The process's folder in procfs.

    Returns:
        The file, or None if no CPU controller is visible.
    """
    try:
        memberships = (proc / "cgroup").read_text().splitlines()
        mounts = (proc / "mountinfo").read_text().splitlines()
    except OSError:
        return None
    paths: dict[str, str] = {}
    for line in memberships:
        _, controllers, path = line.split(":", 2)
        paths.update(dict.fromkeys(controllers.split(","), path))
    # With version 1 (and in mixed setups) the controller is in a hierarchy of its own; the
    # line of version 2 names none.
    version_1 = "cpu" in paths
    path = paths.get("cpu" if version_1 else "", "/")
    for line in mounts:
        left, _, right = line.partition(" - ")
        root, mount_point = left.split()[3:5]
        kind, _, options = right.split(" ", 2)
        if kind != ("cgroup" if version_1 else "cgroup2"):
            continue
        if version_1 and "cpu" not in options.split(","):
            continue
        # Without a namespace the path is the host's; the mount shows the part below its root.
        below = path.removeprefix(root.rstrip("/")) if path.startswith(root) else ""
        for candidate in (Path(mount_point + below), Path(mount_point)):
            if (candidate / "cpu.stat").is_file():
                return candidate / "cpu.stat"
    return None


def read_throttling(cpu_stat: Path) -> CpuThrottling | None:
    """Read the counters.

    Args:
        cpu_stat: What :func:`find_cpu_stat` found.

    Returns:
        The counters, or None if the file has none (no CPU controller is enabled for it).
    """
    try:
        lines = cpu_stat.read_text().splitlines()
    except OSError:
        return None
    values = {key: int(value) for key, _, value in (line.partition(" ") for line in lines)}
    if "throttled_usec" in values:
        seconds = values["throttled_usec"] / 1e6  # version 2
    elif "throttled_time" in values:
        seconds = values["throttled_time"] / 1e9  # version 1, nanoseconds
    else:
        return None
    return CpuThrottling(values["nr_periods"], values["nr_throttled"], seconds)
