"""A machine that containers can run on."""

from __future__ import annotations

import pytest

from shared.machine import Machine


@pytest.mark.parametrize("package", ["ca-certificates", "rsync"])
def test_has_the_packages(machine: Machine, package: str) -> None:
    assert machine.host.package(package).is_installed


@pytest.mark.parametrize("folder", ["/etc/mlops", "/srv/mlops"])
def test_others_may_pass_through_the_folders_but_not_look_into_them(
    machine: Machine, folder: str
) -> None:
    assert machine.mode(folder) == ("0711", "0", "0")


def test_the_journal_is_bounded(machine: Machine) -> None:
    assert "SystemMaxUse=200M" in machine.run(
        "systemd-analyze", "cat-config", "systemd/journald.conf"
    )
    # Running since the setting was written, so that it holds.
    assert machine.run("systemctl", "is-active", "systemd-journald").strip() == "active"
    written = machine.host.file("/etc/systemd/journald.conf.d/mlops.conf").mtime
    since = machine.run("date", "--date", started(machine, "systemd-journald"), "+%s")
    assert int(since) >= int(written.timestamp())


def test_processors_can_be_limited(machine: Machine) -> None:
    version_2 = machine.host.file("/sys/fs/cgroup/cgroup.controllers")
    if version_2.exists:
        assert "cpu" in version_2.content_string.split()
        return
    for controller in ("cpu", "cpuacct", "memory", "pids"):
        assert machine.host.file(f"/sys/fs/cgroup/{controller}/tasks").exists, controller
    # The mounts are there again after a restart, before Docker starts.
    unit = machine.host.service("mount-cgroup-v1-controllers")
    assert unit.is_enabled
    assert unit.is_running
    assert machine.mode("/usr/local/sbin/mount-cgroup-v1-controllers") == ("0755", "0", "0")
    before = machine.run("systemctl", "show", "--value", "--property=Before", unit.name)
    assert {"containerd.service", "docker.service"} <= set(before.split())


def started(machine: Machine, unit: str) -> str:
    return machine.run(
        "systemctl", "show", "--value", "--property=ActiveEnterTimestamp", unit
    ).strip()
