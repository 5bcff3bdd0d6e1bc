"""Airflow with nearly every variable changed, on the same database."""

from __future__ import annotations

import pytest

from shared.airflow import Api
from shared.machine import Machine


@pytest.fixture(scope="module")
def api(machine: Machine) -> Api:
    return Api(machine, 8180)


def test_answers_at_its_new_address(machine: Machine, api: Api) -> None:
    assert api.url == "http://172.30.98.15:8180"
    health = api.get("/monitor/health")
    assert health["scheduler"]["status"] == "healthy"
    environment = machine.containers["airflow-api-server"]["Config"]["Env"]
    assert "AIRFLOW__API__BASE_URL=http://portal.example:8180" in environment


def test_believes_its_proxy_about_the_scheme(machine: Machine, api: Api) -> None:
    url = f"{api.url}/auth/login"
    _, plain = machine.http(url, "--include")
    _, forwarded = machine.http(url, "--include", "--header", "X-Forwarded-Proto: https")
    assert f"location: {api.url}" in plain
    assert f"location: {api.url.replace('http', 'https', 1)}" in forwarded


def test_a_task_finds_the_new_variables_and_modules(api: Api) -> None:
    run = api.run("probe")
    assert run["state"] == "success"
    path = f"/dags/probe/dagRuns/{run['dag_run_id']}/taskInstances/look/xcomEntries/return_value"
    assert api.get(path)["value"].strip('"') == "blue other.example 20 airflow-worker wave"


def test_there_are_two_workers_with_their_own_limits(machine: Machine) -> None:
    for number in (1, 2):
        limits = machine.limits(f"airflow-worker-{number}")
        assert limits.cpu_quota / limits.cpu_period == 1.5
        assert limits.memory == 1024**3
        container = machine.containers[f"airflow-worker-{number}"]
        assert "AIRFLOW__CELERY__WORKER_CONCURRENCY=1" in container["Config"]["Env"]
        assert container["Config"]["StopTimeout"] == 30


def test_has_the_new_limits(machine: Machine) -> None:
    limits = machine.limits("airflow-triggerer")
    assert limits.cpu_quota / limits.cpu_period == 1.5
    assert limits.memory == 700 * 1024**2
    assert machine.mode("/etc/mlops/workflows") == ("0755", "0", "0")
