"""The data API as its clients and its operator see it."""

from __future__ import annotations

import pytest

from shared.machine import Machine

COLUMNS = 13
BATCHES = 10


@pytest.fixture(scope="module")
def url(machine: Machine) -> str:
    return f"http://{machine.address('data-api')}:8000"


def test_hands_out_rows(machine: Machine, url: str) -> None:
    answer = machine.get_json(f"{url}/data?group_number=1")
    assert answer["group_number"] == 1
    assert answer["batch_number"] == 1
    assert len(answer["data"]) > 1000
    assert {len(row) for row in answer["data"]} == {COLUMNS}


def test_the_licence_of_the_data_is_beside_it(machine: Machine) -> None:
    assert "Blackard" in machine.execute("data-api", "cat", "/opt/data_api/NOTICE")
    assert machine.execute("data-api", "ls", "/opt/data").split()


@pytest.mark.parametrize("group", ["0", "11", "x", ""])
def test_refuses_an_unknown_group(machine: Machine, url: str, group: str) -> None:
    status, body = machine.http(f"{url}/data?group_number={group}")
    assert status == 400, body


def test_a_group_keeps_its_place_over_a_restart(machine: Machine, url: str) -> None:
    machine.get_json(f"{url}/restart_data_generation?group_number=2")
    machine.get_json(f"{url}/data?group_number=2")
    machine.shell("sleep 5.5")
    assert machine.get_json(f"{url}/data?group_number=2")["batch_number"] == 2
    machine.run("docker", "restart", "data-api")
    machine.wait_for(f"curl --fail --silent {url}/health/ready")
    assert machine.get_json(f"{url}/data?group_number=2")["batch_number"] in (2, 3)


def test_files(machine: Machine) -> None:
    assert machine.mode("/srv/mlops/data_api") == ("0700", "10016", "10016")


def test_limits(machine: Machine) -> None:
    limits = machine.limits("data-api")
    assert limits.cpu_quota / limits.cpu_period == 0.5
    assert limits.memory == 512 * 1024**2
