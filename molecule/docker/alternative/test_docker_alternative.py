"""Docker with other networks and other bounds of logs."""

from __future__ import annotations

import json

from shared.machine import Machine


def test_networks_are_as_described(machine: Machine) -> None:
    inside, edge = json.loads(machine.run("docker", "network", "inspect", "inside", "edge"))
    assert inside["Internal"]
    assert inside["IPAM"]["Config"] == [{"Subnet": "172.30.91.0/24", "IPRange": "172.30.91.128/25"}]
    assert not edge["Internal"]
    assert edge["IPAM"]["Config"][0]["Subnet"] == "172.30.92.0/24"


def test_logs_have_the_new_bounds(machine: Machine) -> None:
    settings = json.loads(machine.run("cat", "/etc/docker/daemon.json"))
    assert settings["log-opts"] == {"max-file": "5", "max-size": "2m"}
    # Docker reads its settings when it starts, so it has started since.
    written = int(machine.run("stat", "--format", "%Y", "/etc/docker/daemon.json"))
    entered = machine.run(
        "systemctl", "show", "--value", "--property=ActiveEnterTimestamp", "docker"
    ).strip()
    assert int(machine.run("date", "--date", entered, "+%s")) >= written
