"""The replicas as nginx and their operator see them; what they answer is tested in `api/`."""

from __future__ import annotations

import json

import pytest

from shared.machine import Machine

REPLICAS = {"inference-api-1": "172.30.98.31", "inference-api-2": "172.30.98.32"}


def test_there_are_as_many_as_described_where_described(machine: Machine) -> None:
    found = {
        name: machine.address(name)
        for name in machine.containers
        if name.startswith("inference-api")
    }
    assert found == REPLICAS


@pytest.mark.parametrize("replica", REPLICAS)
def test_each_has_exactly_its_part_of_the_budget(machine: Machine, replica: str) -> None:
    limits = machine.limits(replica)
    assert limits.cpu_period == 10_000
    assert limits.cpu_quota == 2_500
    assert limits.memory == 5 * 1024**3
    assert limits.pids == 64


@pytest.mark.parametrize("address", REPLICAS.values())
def test_each_reaches_the_registry(machine: Machine, address: str) -> None:
    live = machine.get_json(f"http://{address}:8000/health/live")
    assert live["status"] == "live"
    assert live["registry"] == "reachable"
    assert machine.get_json(f"http://{address}:8000/models") == {"models": []}


@pytest.mark.parametrize("replica", REPLICAS)
def test_each_answers_at_its_socket_too(machine: Machine, replica: str) -> None:
    path = f"/srv/mlops/inference_api_sockets/{replica}.sock"
    assert machine.mode(path) == ("0666", "10017", "10017")
    options = ("--unix-socket", path)
    assert machine.get_json("http://replica/health/live", *options)["status"] == "live"


@pytest.mark.parametrize("address", REPLICAS.values())
def test_each_says_what_to_do_while_there_is_no_model(machine: Machine, address: str) -> None:
    assert machine.http(f"http://{address}:8000/health/ready")[0] == 503
    status, body = machine.http(f"http://{address}:8000/predict", "--json", "{}")
    assert status in (422, 503)
    assert json.loads(body)["detail"]


@pytest.mark.parametrize("replica", REPLICAS)
def test_each_has_a_long_queue_of_its_own(machine: Machine, replica: str) -> None:
    assert machine.execute(replica, "cat", "/proc/sys/net/core/somaxconn").strip() == "8192"


@pytest.mark.parametrize("replica", REPLICAS)
def test_what_it_logs_is_json(machine: Machine, replica: str) -> None:
    lines = machine.shell(f"docker logs {replica} 2>&1").splitlines()
    assert lines
    assert all(json.loads(line)["message"] for line in lines)


@pytest.mark.parametrize("replica", REPLICAS)
def test_each_has_its_memory_in_huge_pages(machine: Machine, replica: str) -> None:
    assert machine.has_huge_pages(replica) == machine.lets_have_huge_pages


@pytest.mark.parametrize("replica", REPLICAS)
def test_files(machine: Machine, replica: str) -> None:
    assert machine.mode(f"/srv/mlops/inference_api/{replica}") == ("0700", "10017", "10017")
    assert machine.mode("/srv/mlops/inference_api_sockets") == ("0755", "10017", "10017")
