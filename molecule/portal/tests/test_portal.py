"""The portal as its readers and its operator see it."""

from __future__ import annotations

from typing import Any

import pytest

from shared.machine import Machine


@pytest.fixture(scope="module")
def url(machine: Machine) -> str:
    found = f"http://{machine.address('portal')}:8000"
    machine.wait_for(f"curl --silent {found}/status | grep -q looked_at...20")
    return found


@pytest.fixture(scope="module")
def status(machine: Machine, url: str) -> dict[str, Any]:
    found: dict[str, Any] = machine.get_json(f"{url}/status")
    return found


def test_tells_who_is_well_and_who_is_not(status: dict[str, Any]) -> None:
    assert {name: health["well"] for name, health in status["health"].items()} == {
        "Shop": True,
        "Store": True,
        "Gone": False,
    }
    assert status["health"]["Gone"]["detail"]
    assert not status["well"]


def test_tells_the_model_and_the_last_runs(status: dict[str, Any]) -> None:
    assert status["model"] == {"name": "modelo1", "version": "7", "metrics": {"accuracy": 0.94}}
    assert status["runs"] == [{"dag": "probe", "state": "success", "ended": "2026-11-27T05:00:00Z"}]


def test_the_page_has_it_all(machine: Machine, url: str) -> None:
    _, page = machine.http(f"{url}/")
    for text in ("Something is wrong", "https://shop.example", "It sells.", "version 7", "probe"):
        assert text in page
    for path in ("/static/page.css", "/static/page.js"):
        assert machine.http(f"{url}{path}")[0] == 200


def test_has_the_documentation(machine: Machine, url: str) -> None:
    status, page = machine.http(f"{url}/docs/README.md")
    assert (status, '<a href="install.md">' in page) == (200, True)


def test_a_service_that_comes_back_is_well_again(machine: Machine, url: str) -> None:
    machine.run("docker", "stop", "--time", "1", "services")
    try:
        machine.wait_for(f"curl --silent {url}/ | grep -q 'Nobody knows'", 30)
    finally:
        machine.run("docker", "start", "services")
    machine.wait_for(f"curl --silent {url}/ | grep -q 'version 7'", 30)


def test_limits(machine: Machine) -> None:
    limits = machine.limits("portal")
    assert limits.cpu_quota / limits.cpu_period == 0.5
    assert limits.memory == 256 * 1024**2
    assert machine.process("portal").user_id == 10022


def test_files(machine: Machine) -> None:
    assert machine.mode("/etc/mlops/portal/description.json") == ("0644", "0", "0")
