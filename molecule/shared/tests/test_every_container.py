"""What the role `container` promises of every container, seen from the kernel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.machine import Machine

ROLES = Path(__file__).resolve().parents[3] / "roles"

# Containers that may do what others may not, and why.
PUBLISHES_PORTS = {
    "nginx": "it is the one way in",
    "locust": "its machine has nothing else, and so no nginx",
}
KERNEL_SETTINGS = {
    "nginx": "the kernel caps the queue of waiting connections; it is this container's own",
    "inference-api": "the same",
}

# A shorter value is a name or a number, not a secret.
SHORTEST_SECRET = 16


def secrets(machine: Machine) -> set[str]:
    """The values of the scenario's variables that argument specs mark as secret."""
    found: set[str] = set()
    for path in ROLES.glob("*/meta/argument_specs.yml"):
        for entry in yaml.safe_load(path.read_text())["argument_specs"].values():
            for name, option in entry["options"].items():
                if option.get("no_log") and name in machine.variables:
                    found |= strings(machine.variables[name])
    return {value for value in found if len(value) >= SHORTEST_SECRET}


def strings(value: Any) -> set[str]:
    """All texts in nested lists and dictionaries."""
    if isinstance(value, dict):
        return set().union(*map(strings, value.values()))
    if isinstance(value, list):
        return set().union(*map(strings, value))
    return {value} if isinstance(value, str) else set()


def test_is_well(machine: Machine) -> None:
    for name, container in machine.containers.items():
        if name in machine.services:
            assert container["State"]["Running"], name
            assert container["State"]["Health"]["Status"] == "healthy", name
        else:
            assert container["State"]["ExitCode"] == 0, name
        assert container["RestartCount"] == 0, name
        assert not container["State"]["OOMKilled"], name


def test_is_described_as_hardened(machine: Machine) -> None:
    for name, container in machine.containers.items():
        settings = container["HostConfig"]
        assert settings["ReadonlyRootfs"], name
        assert settings["CapDrop"] == ["ALL"], name
        assert not settings["CapAdd"], name
        assert not settings["Privileged"], name
        assert settings["SecurityOpt"] == ["no-new-privileges"], name
        assert settings["PidMode"] == "", name
        assert settings["IpcMode"] in ("private", "none"), name
        assert not any("docker.sock" in bind for bind in settings["Binds"] or []), name
        log = settings["LogConfig"]
        assert log["Type"] == "json-file", name
        assert int(log["Config"]["max-file"]) >= 1, name
        assert log["Config"]["max-size"], name
        if settings.get("Sysctls"):
            assert any(name.startswith(prefix) for prefix in KERNEL_SETTINGS), name


def test_has_no_rights_in_the_kernel(machine: Machine) -> None:
    for name, container in machine.services.items():
        process = machine.process(name)
        assert str(process.user_id) == container["Config"]["User"].split(":")[0], name
        assert process.user_id > 0, name
        assert process.effective_capabilities == 0, name
        assert process.bounding_capabilities == 0, name
        assert process.no_new_privileges, name


def test_cannot_change_its_own_programs(machine: Machine) -> None:
    for name in machine.services:
        result = machine.host.run(f"docker exec --user 0 {name} touch /usr/bin/changed")
        assert result.rc != 0, name
        assert "Read-only file system" in result.stderr, name


def test_limits_stand_in_the_kernel(machine: Machine) -> None:
    for name, container in machine.services.items():
        described = container["HostConfig"]
        limits = machine.limits(name)
        assert limits.cpu_period == described["CpuPeriod"] > 0, name
        assert limits.cpu_quota == described["CpuQuota"] > 0, name
        # The kernel keeps whole pages.
        assert limits.memory == described["Memory"] // 4096 * 4096 > 0, name
        assert limits.memory_and_swap == limits.memory, name
        assert limits.pids == described["PidsLimit"] > 0, name


def test_only_the_way_in_publishes_ports(machine: Machine) -> None:
    for name, container in machine.containers.items():
        published = container["HostConfig"]["PortBindings"]
        assert not published or name in PUBLISHES_PORTS, name


def test_mounts_reach_the_containers_namespaces(machine: Machine) -> None:
    # Where they do not, Docker mounts its own folder over itself when it starts, and a container
    # that it had left running can never be removed.
    propagation = machine.run("findmnt", "--noheadings", "--output", "PROPAGATION", "/")
    assert propagation.strip() == "shared"


def test_nothing_else_listens_on_the_machine(machine: Machine) -> None:
    published = {
        int(port.split("/")[0])
        for container in machine.containers.values()
        for port in container["HostConfig"]["PortBindings"] or {}
    }
    # Local address and port; what listens on the loopback only, nobody outside reaches.
    listening = machine.shell("ss --listening --tcp --numeric --no-header | awk '{ print $4 }'")
    outside = {
        int(line.rpartition(":")[2])
        for line in listening.splitlines()
        if not line.startswith(("127.", "[::1]"))
    }
    # 22 is ssh; 5355 is the resolver's, for names on the local link.
    assert outside - {22, 5355} == published


def test_secrets_are_nowhere_to_be_seen(machine: Machine) -> None:
    values = secrets(machine)
    described = json.dumps(machine.look_again())
    printed = machine.shell(
        "for name in $(docker ps --all --format '{{.Names}}'); do docker logs $name 2>&1; done; "
        # What sudo notes there are the commands of these tests, which know the secrets.
        "journalctl --no-pager --output cat | grep --invert-match ' COMMAND='; "
        "ps axww --format args"
    )
    readable = machine.shell(
        "runuser -u nobody -- "
        "find /etc /srv /var/lib/mlops /tmp -type f -readable -size -1024k -exec cat {} + "
        "2>/dev/null | tr --complement --delete '[:print:]\\n'"
    )
    for value in values:
        assert value not in described
        assert value not in printed
        assert value not in readable


def test_secret_files_belong_to_their_container(machine: Machine) -> None:
    for name, container in machine.containers.items():
        for mount in container["Mounts"]:
            if mount["Destination"] != "/run/secrets":
                continue
            assert not mount["RW"], name
            user = container["Config"]["User"].split(":")[0]
            assert machine.mode(mount["Source"]) == ("0750", "0", user), name
            files = machine.run("find", mount["Source"], "-type", "f").split()
            assert files, name
            for file in files:
                assert machine.mode(file) == ("0400", user, user), file


@pytest.mark.parametrize("folder", ["/etc/mlops", "/srv/mlops"])
def test_nobody_else_can_write(machine: Machine, folder: str) -> None:
    assert (
        machine.run("find", folder, "-perm", "/o=w", "-not", "-type", "l", "-not", "-type", "s")
        == ""
    )
