"""Locust with nearly every variable changed, and no workers any more."""

from __future__ import annotations

from shared.load import run_load
from shared.machine import Machine


def test_one_process_does_it_all(machine: Machine) -> None:
    assert set(machine.services) == {"locust", "target"}
    stats = run_load(machine, "http://172.30.97.20:8189", users=10)
    assert stats["Aggregated"]["num_failures"] == 0
    assert stats["/predict"]["num_requests"] >= 10


def test_has_the_new_settings(machine: Machine) -> None:
    limits = machine.limits("locust")
    assert limits.cpu_quota / limits.cpu_period == 1.5
    assert limits.memory == 512 * 1024**2
    assert machine.process("locust").user_id == 10519
    assert not machine.containers["locust"]["HostConfig"]["PortBindings"]
    assert "MODEL_NAME=modelo2" in machine.containers["locust"]["Config"]["Env"]
