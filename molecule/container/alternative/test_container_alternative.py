"""The container after its limits, its configuration and its secret have changed."""

from __future__ import annotations

from shared.machine import Machine


def test_has_the_new_limits(machine: Machine) -> None:
    limits = machine.limits("probe")
    assert limits.cpu_quota == 5_000
    assert limits.memory == 96 * 1024**2
    assert limits.pids == 77
    assert limits.cpu_weight > 1024


def test_has_the_new_configuration_and_secret(machine: Machine) -> None:
    assert machine.execute("probe", "cat", "/etc/probe.conf") == "two\n"
    assert machine.execute("probe", "cat", "/run/secrets/token") == "Rf4hYt6jUk8mIo2pLz5x"


def test_the_job_ran_once_for_each_change(machine: Machine) -> None:
    # First, then with another configuration, then with another command; never for nothing.
    assert machine.run("cat", "/srv/mlops/job/runs").split() == ["ran", "ran", "again"]
