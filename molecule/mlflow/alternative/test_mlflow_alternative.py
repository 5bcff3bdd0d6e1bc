"""MLflow with nearly every variable changed, on the same database and bucket."""

from __future__ import annotations

from shared.machine import Machine

URL = "http://172.30.98.114:5100"
EXPERIMENT = f"{URL}/api/2.0/mlflow/experiments/get-by-name?experiment_name=probe"


def test_finds_what_was_there_before(machine: Machine) -> None:
    login = f"operator:{machine.variables['mlflow_admin_password']}"
    assert machine.get_json(EXPERIMENT, "--user", login)["experiment"]["name"] == "probe"


def test_others_see_nothing_now(machine: Machine) -> None:
    assert machine.http(EXPERIMENT, "--user", "visitor:Yb3nUh7mJk9lOp5iXz2c")[0] == 403


def test_takes_what_its_own_page_sends_and_nothing_from_others(machine: Machine) -> None:
    login = f"operator:{machine.variables['mlflow_admin_password']}"
    search = f"{URL}/api/2.0/mlflow/experiments/search"
    for origin, status in (("https://tracking.example", 200), ("https://elsewhere.example", 403)):
        asked = machine.http(
            search,
            *("--user", login, "--json", '{"max_results": 1}', "--header", f"Origin: {origin}"),
        )
        assert asked[0] == status, origin


def test_has_the_new_settings(machine: Machine) -> None:
    assert machine.http(f"{URL}/health", "--header", "Host: tracking.example")[0] == 200
    assert "--workers=1" in machine.containers["mlflow"]["Args"]
    settings = machine.run("cat", "/etc/mlops/tracking/basic_auth.ini")
    assert "auth_cache_ttl_seconds = 0" in settings
    assert machine.process("mlflow").user_id == 10514
    assert machine.mode("/srv/mlops/tracking") == ("0700", "10514", "10514")
    limits = machine.limits("mlflow")
    assert limits.cpu_quota / limits.cpu_period == 1.5
    assert limits.memory == 1280 * 1024**2
