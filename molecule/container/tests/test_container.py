"""A container as its program and its operator find it."""

from __future__ import annotations

import json

from shared.machine import Machine


def test_has_exactly_the_described_limits(machine: Machine) -> None:
    limits = machine.limits("probe")
    assert (limits.cpu_period, limits.cpu_quota) == (10_000, 2_500)
    assert limits.memory == 64 * 1024**2
    assert limits.pids == 128
    assert limits.cpu_weight <= 1024


def test_the_program_finds_its_secrets(machine: Machine) -> None:
    token = machine.variables["container_secrets"]["token"]
    assert machine.execute("probe", "cat", "/run/secrets/token") == token
    hidden = machine.variables["container_secret_environment"]["HIDDEN"]
    variables = machine.run("cat", f"/proc/{machine.program_id('probe')}/environ").split("\0")
    assert f"HIDDEN={hidden}" in variables
    assert "PLAIN=visible" in variables


def test_another_user_of_the_machine_cannot_read_them(machine: Machine) -> None:
    for name in ("token", "environment"):
        result = machine.host.run(
            f"setpriv --reuid 65534 --clear-groups cat /etc/mlops/secrets/probe/{name}"
        )
        assert result.rc != 0
        assert "Permission denied" in result.stderr


def test_has_no_way_out_of_the_machine(machine: Machine) -> None:
    (network,) = machine.containers["probe"]["NetworkSettings"]["Networks"]
    assert json.loads(machine.run("docker", "network", "inspect", network))[0]["Internal"]
    # Its only route leads to the network itself: destination, gateway.
    routes = machine.execute("probe", "cat", "/proc/net/route").splitlines()[1:]
    assert routes
    assert all(line.split()[2] == "00000000" for line in routes)


def test_comes_back_when_it_dies(machine: Machine) -> None:
    before = machine.look_again()["probe"]["State"]["StartedAt"]
    process = machine.run("docker", "inspect", "--format", "{{.State.Pid}}", "probe").strip()
    machine.run("kill", "-9", process)
    machine.wait_for(
        "docker inspect --format '{{.State.Health.Status}}' probe | grep --quiet healthy"
    )
    assert machine.look_again()["probe"]["State"]["StartedAt"] != before


def test_a_restart_of_docker_leaves_it_running(machine: Machine) -> None:
    before = machine.look_again()["probe"]["State"]
    machine.run("systemctl", "restart", "docker")
    after = machine.look_again()["probe"]["State"]
    assert (before["Pid"], before["StartedAt"]) == (after["Pid"], after["StartedAt"])


def test_its_memory_is_bounded(machine: Machine) -> None:
    result = machine.host.run("docker exec probe sh -c 'head --bytes 200M /dev/zero | tail'")
    assert result.rc == 137 or "Killed" in result.stderr + result.stdout


def test_its_processes_are_bounded(machine: Machine) -> None:
    result = machine.host.run(
        "docker exec probe bash -c 'for i in $(seq 200); do sleep 3 & done; wait' 2>&1"
    )
    assert "Resource temporarily unavailable" in result.stdout


def test_a_job_runs_once_and_ends(machine: Machine) -> None:
    job = machine.containers["probe-job"]
    assert job["State"]["Status"] == "exited"
    assert job["State"]["ExitCode"] == 0
    assert machine.run("cat", "/srv/mlops/job/runs").split() == ["ran"]


def test_a_shutdown_ends_what_others_need_after_them(machine: Machine) -> None:
    machine.run("systemctl", "stop", "stop-containers")
    states = {name: entry["State"] for name, entry in machine.look_again().items()}
    machine.run("systemctl", "start", "stop-containers")
    machine.run("docker", "start", *machine.services)
    assert not any(states[name]["Running"] for name in machine.services)
    assert states["probe-client"]["FinishedAt"] < states["probe-store"]["FinishedAt"]
