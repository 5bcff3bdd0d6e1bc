"""The replicas with nearly every variable changed, after there had been more of them."""

from __future__ import annotations

import pytest

from shared.machine import Machine

REPLICAS = {
    "inference-api-1": "172.30.98.31",
    "inference-api-2": "172.30.98.32",
    "inference-api-3": "172.30.98.33",
}


def test_the_surplus_is_gone(machine: Machine) -> None:
    assert {name for name in machine.containers if name.startswith("inference")} == set(REPLICAS)


@pytest.mark.parametrize("replica", REPLICAS)
def test_each_has_its_part_of_the_new_budget(machine: Machine, replica: str) -> None:
    limits = machine.limits(replica)
    assert limits.cpu_period == 20_000
    assert limits.cpu_quota == 4_000
    assert limits.memory == 1024**3
    assert limits.cpu_weight > 1024


@pytest.mark.parametrize(("replica", "address"), REPLICAS.items())
def test_each_has_the_new_settings(machine: Machine, replica: str, address: str) -> None:
    assert machine.get_json(f"http://{address}:8100/health/live")["registry"] == "reachable"
    near = ("--unix-socket", f"/srv/mlops/serving_sockets/{replica}.sock")
    assert machine.get_json("http://replica/health/live", *near)["status"] == "live"
    environment = machine.containers[replica]["Config"]["Env"]
    assert {"PRODUCTION_ALIAS=champion", "DEFAULT_MODEL=modelo2"} <= set(environment)
    assert machine.execute(replica, "cat", "/proc/sys/net/core/somaxconn").strip() == "2048"
    assert machine.process(replica).user_id == 10517
    assert machine.mode(f"/srv/mlops/serving/{replica}") == ("0700", "10517", "10517")
