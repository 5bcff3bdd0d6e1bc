"""Locust as somebody sees it who makes load with it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from shared.load import run_load
from shared.machine import Machine

URL = "http://127.0.0.1:8089"
TARGET = "https://172.30.97.10:8000"
TRUST = ("--cacert", "/etc/mlops/certificates/ca.crt")
CONTAINERS = ("locust", "locust-worker-1", "locust-worker-2")


def ready_workers(machine: Machine) -> set[str]:
    """The workers that can take clients: each start of one has a name of its own."""
    workers: list[dict[str, Any]] = machine.get_json(f"{URL}/stats/requests")["workers"]
    return {worker["id"] for worker in workers if worker["state"] == "ready"}


def test_every_worker_is_ready(machine: Machine) -> None:
    names = {worker.split("_")[0] for worker in ready_workers(machine)}
    assert names == {"locust-worker-1", "locust-worker-2"}


def test_clients_ask_the_target_with_rows_of_all_areas(machine: Machine) -> None:
    # Whatever somebody types on the page, load goes to the target.
    stats = run_load(machine, URL, users=40, host="http://172.30.97.1:9")
    assert set(stats) == {"/models", "/select-model", "/predict", "Aggregated"}
    assert stats["Aggregated"]["num_failures"] == 0
    assert stats["/predict"]["num_requests"] >= 40
    questions = machine.get_json(f"{TARGET}/asked", *TRUST)
    assert {len(question) for question in questions} == {12}
    assert len({question["Elevation"] for question in questions}) > 20
    assert {"Rawah", "Commanche"} <= {question["Wilderness_Area"] for question in questions}


def test_requests_are_sent_at_a_fixed_rate(machine: Machine) -> None:
    options = [
        "--rate",
        "50",
        "--seconds",
        "2",
        "--warm-up",
        "1",
        "--processes",
        "2",
        "--connections",
        "20",
    ]
    printed = machine.execute("locust", "python", "-m", "load_test.open_loop", *options)
    counted = json.loads(printed)
    assert counted["due"] == pytest.approx(100, abs=2)
    assert counted["ended"] == {"200": counted["due"]}


def test_a_dead_worker_comes_back(machine: Machine) -> None:
    before = ready_workers(machine)
    pid = machine.run("docker", "inspect", "--format", "{{.State.Pid}}", "locust-worker-1")
    machine.run("kill", "-9", pid.strip())
    deadline = time.monotonic() + 60
    while len(ready_workers(machine) - before) < 1 or len(ready_workers(machine)) < 2:
        assert time.monotonic() < deadline, ready_workers(machine)
        time.sleep(0.5)


@pytest.mark.parametrize("container", CONTAINERS)
def test_none_is_held_back(machine: Machine, container: str) -> None:
    limits = machine.limits(container)
    assert limits.cpu_quota / limits.cpu_period == 2.0
    assert limits.memory == 2 * 1024**3
    # Each client has a connection of its own.
    assert int(machine.execute(container, "sh", "-c", "ulimit -n")) >= 10_000


def test_the_licence_of_the_data_is_beside_it(machine: Machine) -> None:
    assert "Blackard" in machine.execute("locust", "cat", "/opt/locust/NOTICE")
