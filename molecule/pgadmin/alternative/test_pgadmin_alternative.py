"""pgAdmin with nearly every variable changed, on what its login keeps."""

from __future__ import annotations

import pytest

from shared.machine import Machine
from shared.pgadmin import ask


@pytest.fixture
def password(machine: Machine) -> str:
    return str(machine.variables["pgadmin_password"])


def test_takes_the_new_password_and_refuses_the_old_one(machine: Machine, password: str) -> None:
    assert machine.address("pgadmin") == "172.30.98.17"
    assert ask(machine, "Wx8cEr4vTb6nYm2uKi9o", 5150) == {"refused": True}
    assert ask(machine, password, 5150)["servers"] == ["Shop"]


def test_has_the_new_query(machine: Machine, password: str) -> None:
    answer = ask(machine, password, 5150, database="shop", file="/platform/count.sql")
    # JavaScript has no whole numbers of that size, so they come as text.
    assert answer["rows"] == [["2"]]


def test_keeps_what_the_user_has_made(machine: Machine, password: str) -> None:
    assert ask(machine, password, 5150, database="shop", file="/mine.sql")["rows"] == [[7]]


def test_has_the_new_settings(machine: Machine) -> None:
    assert "--threads=10" in machine.run("docker", "top", "pgadmin", "-eo", "pid,args")
    assert machine.mode("/etc/mlops/queries/description.json") == ("0644", "0", "0")
    limits = machine.limits("pgadmin")
    assert limits.cpu_quota / limits.cpu_period == 1.5
    assert limits.memory == 448 * 1024**2
