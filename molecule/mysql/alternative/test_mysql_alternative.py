"""MySQL with nearly every variable changed, on the same data."""

from __future__ import annotations

from shared.machine import Machine
from shared.mysql import passwords, sql


def test_takes_the_new_password_and_refuses_the_old_one(machine: Machine) -> None:
    assert machine.address("mysql") == "172.30.99.12"
    assert sql(machine, "seller", passwords(machine)["seller"], "SELECT id FROM kept") == "42"
    assert "Access denied" in sql(machine, "seller", "Jh8sFp3dKl5wTz7xCv2b", "SELECT 1")


def test_has_the_new_database(machine: Machine) -> None:
    password = passwords(machine)["reader"]
    assert sql(machine, "reader", password, "CREATE TABLE mine (id int)", "books") == ""


def test_has_the_new_settings(machine: Machine) -> None:
    answer = sql(
        machine,
        "seller",
        passwords(machine)["seller"],
        "SELECT @@max_connections, @@innodb_buffer_pool_size",
    )
    assert answer.split("\t") == ["25", str(64 * 1024**2)]


def test_has_the_new_limits(machine: Machine) -> None:
    limits = machine.limits("mysql")
    assert limits.cpu_quota / limits.cpu_period == 0.75
    assert limits.memory == 896 * 1024**2
    assert limits.pids == 125
