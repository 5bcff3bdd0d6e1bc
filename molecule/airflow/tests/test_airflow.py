"""Airflow as its users and its operator see it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from shared.airflow import Api
from shared.machine import Machine

COMPONENTS = ("scheduler", "dag_processor", "triggerer")


@pytest.fixture(scope="module")
def api(machine: Machine) -> Api:
    found = Api(machine, 8080)
    found.wait_for_dags("probe")
    return found


@pytest.fixture(scope="module")
def run(api: Api) -> dict[str, Any]:
    """A run of the DAG `probe` that has ended."""
    return api.run("probe")


def test_lists_the_dags(api: Api) -> None:
    assert [dag["dag_id"] for dag in api.get("/dags")["dags"]] == ["probe"]
    assert api.get("/importErrors")["import_errors"] == []


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_component_sends_its_heartbeat(api: Api, component: str) -> None:
    health = api.get("/monitor/health")[component]
    assert health["status"] == "healthy"
    beat = datetime.fromisoformat(health[f"latest_{component}_heartbeat"])
    assert (datetime.now(UTC) - beat).total_seconds() < 60


def test_a_worker_runs_a_task(api: Api, run: dict[str, Any]) -> None:
    assert run["state"] == "success"
    task = api.get(f"/dags/probe/dagRuns/{run['dag_run_id']}/taskInstances/look")
    assert task["state"] == "success"
    assert task["hostname"] == "airflow-worker-1"


def test_a_task_finds_variables_and_connections(api: Api, run: dict[str, Any]) -> None:
    path = f"/dags/probe/dagRuns/{run['dag_run_id']}/taskInstances/look/xcomEntries/return_value"
    assert api.get(path)["value"].strip('"') == "green shop.example 20 airflow-worker nothing"


def test_a_tasks_log_is_there_without_the_password(
    machine: Machine, api: Api, run: dict[str, Any]
) -> None:
    path = f"/dags/probe/dagRuns/{run['dag_run_id']}/taskInstances/look/logs/1"
    printed = json.dumps(api.get(path))
    assert "the password is" in printed
    password = machine.variables["airflow_connections"]["shop"]["password"]
    assert password not in printed
    kept = machine.run("grep", "-rlF", "the password is", "/srv/mlops/airflow/logs").split()
    assert kept
    assert machine.host.run(f"grep -rqF {password} /srv/mlops/airflow/logs").rc == 1


def test_refuses_clients_without_a_login(machine: Machine, api: Api) -> None:
    assert machine.http(f"{api.url}/api/v2/dags")[0] == 401
    assert api.login("admin", "not-the-password")[0] == 401
    assert api.login("admin", "admin")[0] == 401


def test_connections_are_encrypted_in_the_database(machine: Machine) -> None:
    stored = machine.run(
        *("docker", "exec", "--env", "PGPASSWORD=Xc6tGy8uNj4kVb2mWq7s", "postgres"),
        *("psql", "--host", "127.0.0.1", "--username", "airflow", "--tuples-only", "--command"),
        "SELECT password, is_encrypted FROM connection WHERE conn_id = 'shop'",
    )
    assert stored.split("|")[1].strip() == "t"
    assert machine.variables["airflow_connections"]["shop"]["password"] not in stored


def test_a_new_dag_needs_no_restart(machine: Machine, api: Api) -> None:
    before = machine.look_again()["airflow-dag-processor"]["State"]["StartedAt"]
    machine.shell(
        "sed s/probe/second/g /srv/mlops/airflow/dags/probe.py > /srv/mlops/airflow/dags/second.py"
    )
    try:
        api.wait_for_dags("probe", "second")
    finally:
        machine.run("rm", "/srv/mlops/airflow/dags/second.py")
    assert machine.look_again()["airflow-dag-processor"]["State"]["StartedAt"] == before


def test_files(machine: Machine) -> None:
    assert machine.mode("/etc/mlops/airflow") == ("0755", "0", "0")
    assert machine.mode("/srv/mlops/airflow/dags/probe.py") == ("0644", "0", "0")
    assert machine.mode("/srv/mlops/airflow/logs") == ("0750", "10015", "10015")
    assert not machine.host.file("/srv/mlops/airflow/dags/requirements.txt").exists


@pytest.mark.parametrize(
    ("component", "cpus", "memory"),
    [
        ("api-server", 1.0, 1024),
        ("scheduler", 1.0, 1024),
        ("dag-processor", 1.0, 768),
        ("triggerer", 0.5, 768),
        ("worker-1", 2.0, 4096),
    ],
)
def test_limits(machine: Machine, component: str, cpus: float, memory: int) -> None:
    limits = machine.limits(f"airflow-{component}")
    assert limits.cpu_quota / limits.cpu_period == cpus
    assert limits.memory == memory * 1024**2
    assert limits.pids == 256
