"""MLflow as its clients and its operator see it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.machine import Machine
from shared.s3 import administrator, s3

URL = "http://172.30.98.14:5000"
API = f"{URL}/api/2.0/mlflow"


def call(machine: Machine, user: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Call the API as a login: POST with a body, otherwise GET."""
    status, answer = request(machine, user, path, body)
    assert status == 200, answer
    return json.loads(answer)


def request(
    machine: Machine, user: str, path: str, body: dict[str, Any] | None = None
) -> tuple[int, str]:
    options = ["--user", f"{user}:{password(machine, user)}"]
    if body is not None:
        options += ["--json", json.dumps(body)]
    return machine.http(f"{API}{path}", *options)


def password(machine: Machine, user: str) -> str:
    if user == "admin":
        return str(machine.variables["mlflow_admin_password"])
    users = machine.variables["mlflow_users"]
    return str(next(entry["password"] for entry in users if entry["name"] == user))


@pytest.fixture(scope="module")
def run(machine: Machine) -> dict[str, Any]:
    """A run that the login `trainer` logs, with a metric and an artifact."""
    experiments = request(machine, "trainer", "/experiments/get-by-name?experiment_name=probe")
    if experiments[0] == 200:
        experiment = json.loads(experiments[1])["experiment"]["experiment_id"]
    else:
        experiment = call(machine, "trainer", "/experiments/create", {"name": "probe"})[
            "experiment_id"
        ]
    made: dict[str, Any] = call(
        machine, "trainer", "/runs/create", {"experiment_id": experiment, "start_time": 1}
    )["run"]
    run_id = made["info"]["run_id"]
    call(
        machine,
        "trainer",
        "/runs/log-metric",
        {"run_id": run_id, "key": "accuracy", "value": 0.5, "timestamp": 1},
    )
    status, answer = machine.http(
        f"{URL}/api/2.0/mlflow-artifacts/artifacts/{artifact_path(made)}",
        *("--user", f"trainer:{password(machine, 'trainer')}"),
        *("--header", "Content-Type: application/octet-stream"),
        *("--request", "PUT", "--data-binary", "content"),
    )
    assert status == 200, answer
    return made


def artifact_path(run: dict[str, Any]) -> str:
    uri: str = run["info"]["artifact_uri"]
    assert uri.startswith("mlflow-artifacts:/")
    return uri.removeprefix("mlflow-artifacts:/") + "/note.txt"


def test_gives_back_a_run_and_its_artifact(machine: Machine, run: dict[str, Any]) -> None:
    run_id = run["info"]["run_id"]
    found = call(machine, "trainer", f"/runs/get?run_id={run_id}")["run"]
    assert [(m["key"], m["value"]) for m in found["data"]["metrics"]] == [("accuracy", 0.5)]
    status, body = machine.http(
        f"{URL}/api/2.0/mlflow-artifacts/artifacts/{artifact_path(run)}",
        *("--user", f"trainer:{password(machine, 'trainer')}"),
    )
    assert (status, body) == (200, "content")


def test_artifacts_are_kept_in_the_bucket(machine: Machine, run: dict[str, Any]) -> None:
    answer = s3(
        machine,
        "get_object",
        login=administrator(machine),
        port=9000,
        Bucket="mlflows3",
        Key=artifact_path(run),
    )
    assert answer["Body"] == "content"


def test_registers_a_model_and_follows_its_alias(machine: Machine, run: dict[str, Any]) -> None:
    name = f"model-{run['info']['run_id'][:8]}"
    call(machine, "trainer", "/registered-models/create", {"name": name})
    version = call(
        machine,
        "trainer",
        "/model-versions/create",
        {"name": name, "source": run["info"]["artifact_uri"], "run_id": run["info"]["run_id"]},
    )["model_version"]["version"]
    call(
        machine,
        "trainer",
        "/registered-models/alias",
        {"name": name, "alias": "production", "version": version},
    )
    found = call(machine, "server", f"/registered-models/alias?name={name}&alias=production")
    assert found["model_version"]["version"] == version


def test_refuses_clients_without_a_login(machine: Machine) -> None:
    assert machine.http(f"{API}/registered-models/search")[0] == 401
    wrong = ("--user", "admin:not-the-password")
    assert machine.http(f"{API}/registered-models/search", *wrong)[0] == 401
    assert machine.http(f"{API}/registered-models/search", "--user", "admin:password1234")[0] == 401


def test_others_read_what_a_login_made_and_change_nothing(
    machine: Machine, run: dict[str, Any]
) -> None:
    run_id = run["info"]["run_id"]
    assert request(machine, "server", f"/runs/get?run_id={run_id}")[0] == 200
    change = {"run_id": run_id, "key": "accuracy", "value": 1.0, "timestamp": 2}
    assert request(machine, "server", "/runs/log-metric", change)[0] == 403
    assert (
        request(machine, "server", "/users/create", {"username": "x", "password": "y" * 20})[0]
        == 403
    )


def test_answers_to_its_own_names_only(machine: Machine) -> None:
    login = ("--user", f"server:{password(machine, 'server')}")
    for host, expected in (("mlflow:5000", 200), ("elsewhere.example", 403)):
        header = ("--header", f"Host: {host}")
        status, _ = machine.http(f"{API}/registered-models/search", *login, *header)
        assert status == expected, host


def test_files(machine: Machine) -> None:
    assert machine.mode("/etc/mlops/mlflow") == ("0755", "0", "0")
    assert machine.mode("/etc/mlops/mlflow/basic_auth.ini") == ("0644", "0", "0")
    assert machine.mode("/srv/mlops/mlflow") == ("0700", "10014", "10014")


def test_limits(machine: Machine) -> None:
    limits = machine.limits("mlflow")
    assert limits.cpu_quota / limits.cpu_period == 1.0
    assert limits.memory == 1536 * 1024**2
