"""Docker as containers and their operator find it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.machine import Machine


@pytest.fixture(scope="module")
def info(machine: Machine) -> dict[str, Any]:
    described: dict[str, Any] = json.loads(machine.run("docker", "info", "--format", "json"))
    return described


def test_runs_now_and_at_every_start(machine: Machine) -> None:
    service = machine.host.service("docker")
    assert service.is_running
    assert service.is_enabled


def test_can_keep_all_limits(info: dict[str, Any]) -> None:
    for limit in ("CpuCfsPeriod", "CpuCfsQuota", "MemoryLimit", "PidsLimit"):
        assert info[limit], limit


def test_only_root_reaches_it(machine: Machine) -> None:
    assert machine.mode("/etc/docker/daemon.json") == ("0644", "0", "0")
    assert machine.mode("/run/docker.sock")[0] == "0660"
    members = machine.run("getent", "group", "docker").strip().split(":")[3]
    assert members == ""


def test_a_restart_of_docker_leaves_containers_running(info: dict[str, Any]) -> None:
    assert info["LiveRestoreEnabled"]


def test_new_privileges_are_off_for_every_container(machine: Machine, info: dict[str, Any]) -> None:
    assert json.loads(machine.run("cat", "/etc/docker/daemon.json"))["no-new-privileges"]
    assert any("seccomp" in option for option in info["SecurityOptions"])


def test_logs_are_bounded(machine: Machine, info: dict[str, Any]) -> None:
    assert info["LoggingDriver"] == "json-file"
    settings = json.loads(machine.run("cat", "/etc/docker/daemon.json"))["log-opts"]
    assert settings == {"max-file": "3", "max-size": "10m"}


def test_the_network_has_no_way_out(machine: Machine) -> None:
    network = json.loads(machine.run("docker", "network", "inspect", "mlops"))[0]
    assert network["Internal"]
    assert network["Driver"] == "bridge"
