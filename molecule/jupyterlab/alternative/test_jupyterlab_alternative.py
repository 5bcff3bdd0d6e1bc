"""JupyterLab with nearly every variable changed, on the user's files."""

from __future__ import annotations

from shared.jupyterlab import ask
from shared.machine import Machine


def test_takes_the_new_password_and_refuses_the_old_one(machine: Machine) -> None:
    assert machine.address("jupyterlab") == "172.30.99.18"
    assert ask(machine, "Pm7nBv4cXz2lKj9hGf6d", 8988) == {"refused": True}
    code = "import os; print(os.environ['COLOUR'], os.environ['SHOP_PASSWORD'][:2])"
    answer = ask(machine, machine.variables["jupyterlab_password"], 8988, code=code)
    assert answer == {"printed": "blue Zx\n", "status": "ok", "shown": [1]}


def test_keeps_what_the_user_has_made(machine: Machine) -> None:
    password = machine.variables["jupyterlab_password"]
    answer = ask(machine, password, 8988, notebook="mine.ipynb")
    assert answer["printed"] == "the colour is blue\n4\n"


def test_has_the_new_limits(machine: Machine) -> None:
    limits = machine.limits("jupyterlab")
    assert limits.cpu_quota / limits.cpu_period == 1.5
    assert limits.memory == 1024**3
