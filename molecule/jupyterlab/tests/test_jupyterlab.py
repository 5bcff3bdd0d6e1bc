"""JupyterLab as its user and its operator see it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shared.jupyterlab import ask
from shared.machine import Machine

PIPELINE = Path(__file__).resolve().parents[3] / "dags" / "requirements.in"
URL = "http://{address}:8888{path}"


@pytest.fixture
def password(machine: Machine) -> str:
    return str(machine.variables["jupyterlab_password"])


def test_a_kernel_finds_its_variables(machine: Machine, password: str) -> None:
    code = "import os; print(os.environ['COLOUR'], os.environ['SHOP_PASSWORD'][:2])"
    answer = ask(machine, password, code=code)
    assert answer == {"printed": "green Ys\n", "status": "ok", "shown": [1]}


def test_has_the_versions_that_the_pipeline_has(machine: Machine, password: str) -> None:
    wanted = dict(
        re.findall(r"^([a-z0-9-]+)(?:\[[a-z,]+\])?==(\S+)$", PIPELINE.read_text(), re.MULTILINE)
    )
    assert "scikit-learn" in wanted
    code = f"from importlib.metadata import version\nprint([version(name) for name in {[*wanted]}])"
    answer = ask(machine, password, code=code)
    assert answer["printed"].strip() == str([*wanted.values()])


def test_a_failure_is_told(machine: Machine, password: str) -> None:
    answer = ask(machine, password, code="raise ValueError('such a thing')")
    assert answer["status"] == "error"
    assert "such a thing" in answer["printed"]


def test_what_comes_over_a_replaced_connection_harms_nobody(
    machine: Machine, password: str
) -> None:
    answer = ask(machine, password, code="print(6 * 7)", replaced=True)
    assert answer == {"printed": "42\n", "status": "ok", "shown": [1]}


def test_refuses_a_wrong_password(machine: Machine) -> None:
    for wrong in ("not-the-password", "jupyter", ""):
        assert ask(machine, wrong) == {"refused": True}


@pytest.mark.parametrize("path", ["/lab", "/api/contents", "/api/kernels", "/files/x"])
def test_shows_nothing_without_a_login(machine: Machine, path: str) -> None:
    url = URL.format(address=machine.address("jupyterlab"), path=path)
    assert machine.http(url)[0] in (302, 403)
    assert machine.http(f"{url}?token=", "--header", "Authorization: token ")[0] in (302, 403)


def test_runs_no_code_without_a_login(machine: Machine) -> None:
    for path in ("/api/kernels", "/api/terminals"):
        url = URL.format(address=machine.address("jupyterlab"), path=path)
        assert machine.http(url, "--json", "{}")[0] == 403, path


def test_an_example_runs_to_its_end_and_cannot_be_changed(machine: Machine, password: str) -> None:
    example = "examples/probe.ipynb"
    answer = ask(machine, password, notebook=example, copy="mine.ipynb")
    assert answer == {"printed": "the colour is green\n5\n", "status": "ok", "shown": [1, 1]}
    result = machine.host.run(f"docker exec jupyterlab touch /home/jupyter/{example}")
    assert "Permission denied" in result.stderr


def test_what_the_user_makes_is_there_after_a_restart(machine: Machine, password: str) -> None:
    machine.run("docker", "restart", "jupyterlab")
    machine.wait_for("docker exec jupyterlab curl --fail --silent http://127.0.0.1:8888/login", 120)
    assert "the colour is green" in machine.execute("jupyterlab", "cat", "/home/jupyter/mine.ipynb")


def test_files(machine: Machine) -> None:
    assert machine.mode("/srv/mlops/jupyterlab") == ("0755", "0", "0")
    assert machine.mode("/srv/mlops/jupyterlab/home") == ("0700", "10021", "10021")
    assert machine.mode("/srv/mlops/jupyterlab/examples/probe.ipynb") == ("0644", "0", "0")


def test_limits(machine: Machine) -> None:
    limits = machine.limits("jupyterlab")
    assert limits.cpu_quota / limits.cpu_period == 2.0
    assert limits.memory == 2 * 1024**3
    assert limits.pids == 512
