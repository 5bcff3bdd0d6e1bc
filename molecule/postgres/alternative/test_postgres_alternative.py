"""PostgreSQL with nearly every variable changed, on the same data."""

from __future__ import annotations

from shared.machine import Machine
from shared.postgres import passwords, sql, with_held_connections


def test_takes_the_new_password_and_refuses_the_old_one(machine: Machine) -> None:
    assert machine.address("postgres") == "172.30.99.10"
    assert sql(machine, "seller", passwords(machine)["seller"], "SELECT id FROM kept") == "42"
    assert "authentication failed" in sql(machine, "seller", "Xc6tGy8uNj4kVb2mWq7s", "SELECT 1")


def test_has_the_new_database_and_rights(machine: Machine) -> None:
    password = passwords(machine)["reader"]
    assert "CREATE TABLE" in sql(machine, "reader", password, "CREATE TABLE mine (id int)", "books")
    assert "CREATE TABLE" in sql(machine, "reader", password, "CREATE TABLE public.mine (id int)")


def test_a_new_reader_reads_tables_that_are_there_and_the_former_one_is_gone(
    machine: Machine,
) -> None:
    assert sql(machine, "auditor", passwords(machine)["auditor"], "SELECT id FROM kept") == "42"
    former = sql(machine, "viewer", "Tg4bNh8uMj2kLo6pQa5z", "SELECT id FROM kept")
    assert "authentication failed" in former
    admin = machine.variables["postgres_admin_password"]
    names = sql(machine, "postgres", admin, "SELECT rolname FROM pg_roles WHERE rolname = 'viewer'")
    assert names == ""


def test_a_reader_has_the_new_number_of_connections(machine: Machine) -> None:
    refused, answered = with_held_connections(machine, "auditor", 2, also="seller")
    assert "too many connections for role" in refused
    assert answered == "1"
    held_for = sql(machine, "auditor", passwords(machine)["auditor"], "SHOW idle_session_timeout")
    assert held_for == "5min"


def test_has_the_new_settings(machine: Machine) -> None:
    password = passwords(machine)["seller"]
    expected = {
        "max_connections": "40",
        "shared_buffers": "96MB",
        "max_wal_size": "1GB",
        "log_min_duration_statement": "-1",
    }
    for name, value in expected.items():
        assert sql(machine, "seller", password, f"SHOW {name}") == value, name


def test_has_the_new_limits(machine: Machine) -> None:
    limits = machine.limits("postgres")
    assert limits.cpu_quota / limits.cpu_period == 0.75
    assert limits.memory == 768 * 1024**2
    assert limits.pids == 104
