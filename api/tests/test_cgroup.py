from pathlib import Path

import pytest

from inference_api.cgroup import CpuThrottling, find_cpu_stat, read_throttling

VERSION_1 = "nr_periods 40\nnr_throttled 7\nthrottled_time 2500000000\n"
VERSION_2 = "usage_usec 99\nnr_periods 40\nnr_throttled 7\nthrottled_usec 2500000\n"


def machine(root: Path, cgroup: str, mounts: list[str], stat: str, at: str) -> Path:
    """Lay out a machine below ``root``; mount points in ``mounts`` are relative to it."""
    proc = root / "proc"
    proc.mkdir()
    (proc / "cgroup").write_text(cgroup)
    lines = [f"30 20 0:26 {line.replace('@', str(root))}\n" for line in mounts]
    (proc / "mountinfo").write_text("".join(lines))
    (root / at).mkdir(parents=True)
    (root / at / "cpu.stat").write_text(stat)
    return proc


@pytest.mark.parametrize(
    ("cgroup", "mounts", "stat", "at"),
    [
        pytest.param(
            "0::/\n",
            ["/ @/sys rw - cgroup2 cgroup rw,nsdelegate"],
            VERSION_2,
            "sys",
            id="version 2 in a namespace",
        ),
        pytest.param(
            "0::/system.slice/docker-1.scope\n",
            ["/ @/sys rw - cgroup2 cgroup rw"],
            VERSION_2,
            "sys/system.slice/docker-1.scope",
            id="version 2 on the host",
        ),
        pytest.param(
            "0::/../../outside\n",
            ["/ @/sys rw - cgroup2 cgroup rw"],
            VERSION_2,
            "sys",
            id="version 2, a path outside the namespace",
        ),
        pytest.param(
            "5:cpu,cpuacct:/docker/1\n0::/\n",
            [
                "/docker/1 @/unified rw - cgroup2 cgroup rw",
                "/docker/1 @/memory rw - cgroup cgroup rw,memory",
                "/docker/1 @/cpu rw shared:9 master:3 - cgroup cgroup rw,cpu,cpuacct",
            ],
            VERSION_1,
            "cpu",
            id="version 1 in a container",
        ),
        pytest.param(
            "4:cpuacct:/\n1:cpu:/docker/1\n",
            [
                "/ @/cpuacct rw - cgroup cgroup rw,cpuacct",
                "/ @/cpu rw - cgroup cgroup rw,cpu",
            ],
            VERSION_1,
            "cpu/docker/1",
            id="version 1 on the host, mounted apart",
        ),
    ],
)
def test_the_counters_are_found(
    tmp_path: Path, cgroup: str, mounts: list[str], stat: str, at: str
) -> None:
    found = find_cpu_stat(machine(tmp_path, cgroup, mounts, stat, at))
    assert found == tmp_path / at / "cpu.stat"
    assert read_throttling(found) == CpuThrottling(40, 7, 2.5)


def test_without_a_cpu_controller_there_are_none(tmp_path: Path) -> None:
    mounts = ["/ @/memory rw - cgroup cgroup rw,memory"]
    assert find_cpu_stat(machine(tmp_path, "4:memory:/\n", mounts, VERSION_1, "memory")) is None
    assert find_cpu_stat(tmp_path / "no such process") is None


def test_a_group_without_a_limit_has_none(tmp_path: Path) -> None:
    stat = tmp_path / "cpu.stat"
    stat.write_text("usage_usec 99\nuser_usec 9\n")
    assert read_throttling(stat) is None
    assert read_throttling(tmp_path / "gone") is None
