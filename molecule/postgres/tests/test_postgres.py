"""PostgreSQL as its clients and its operator see it."""

from __future__ import annotations

import pytest

from shared.machine import Machine
from shared.postgres import hold_connections, passwords, sql, with_held_connections


def test_an_owner_makes_and_fills_its_tables(machine: Machine) -> None:
    password = passwords(machine)["seller"]
    sql(machine, "seller", password, "CREATE TABLE IF NOT EXISTS kept (id int PRIMARY KEY)")
    sql(machine, "seller", password, "INSERT INTO kept VALUES (42) ON CONFLICT DO NOTHING")
    assert sql(machine, "seller", password, "SELECT id FROM kept") == "42"


@pytest.mark.parametrize("password", ["not-the-password", "", "Pf9dZr5eYh3gTl6oBn8a"])
def test_refuses_a_wrong_password(machine: Machine, password: str) -> None:
    answer = sql(machine, "seller", password, "SELECT 1")
    assert "password authentication failed" in answer or "no password supplied" in answer


def test_passwords_are_stored_and_sent_as_scram_only(machine: Machine) -> None:
    admin = machine.variables["postgres_admin_password"]
    methods = sql(machine, "postgres", admin, "SELECT DISTINCT auth_method FROM pg_hba_file_rules")
    assert methods == "scram-sha-256"
    stored = sql(
        machine, "postgres", admin, "SELECT rolname FROM pg_authid WHERE rolpassword !~ '^SCRAM'"
    )
    assert stored == ""


def test_a_login_does_only_what_its_rights_say(machine: Machine) -> None:
    password = passwords(machine)["reader"]
    assert sql(machine, "reader", password, "SELECT 1") == "1"
    assert "permission denied" in sql(
        machine, "reader", password, "CREATE TABLE public.mine (id int)"
    )
    assert "permission denied" in sql(machine, "reader", password, "CREATE DATABASE mine")
    assert "permission denied" in sql(machine, "reader", password, "CREATE ROLE other")
    assert "permission denied" in sql(machine, "reader", password, "SELECT * FROM pg_authid")


def test_a_reader_reads_tables_that_are_made_later_and_nothing_else(machine: Machine) -> None:
    password = passwords(machine)["viewer"]
    test_an_owner_makes_and_fills_its_tables(machine)
    admin = machine.variables["postgres_admin_password"]
    sql(machine, "postgres", admin, "CREATE TABLE IF NOT EXISTS public.closed (id int)")
    assert sql(machine, "viewer", password, "SELECT id FROM kept") == "42"
    for statement in (
        *("INSERT INTO kept VALUES (1)", "UPDATE kept SET id = 1", "DELETE FROM kept"),
        *("TRUNCATE kept", "CREATE TABLE public.mine (id int)", "CREATE SCHEMA mine"),
        *("GRANT SELECT ON kept TO reader", "ALTER ROLE seller PASSWORD 'x'"),
    ):
        assert "read-only transaction" in sql(machine, "viewer", password, statement), statement
        # What the login cannot talk itself out of.
        answer = sql(machine, "viewer", password, f"SET transaction_read_only = off; {statement}")
        assert "permission denied" in answer or "no privileges were granted" in answer, statement
    assert "permission denied" in sql(machine, "viewer", password, "SELECT * FROM closed")


def test_a_reader_leaves_connections_to_the_others(machine: Machine) -> None:
    refused, answered = with_held_connections(machine, "viewer", 20, also="seller")
    assert "too many connections for role" in refused
    assert answered == "1"
    assert sql(machine, "viewer", passwords(machine)["viewer"], "SHOW idle_session_timeout") == "1h"


def test_has_the_described_settings(machine: Machine) -> None:
    password = passwords(machine)["seller"]
    expected = {
        "max_connections": "100",
        "shared_buffers": "128MB",
        "max_wal_size": "2GB",
        "log_min_duration_statement": "1s",
        "data_checksums": "on",
        "server_encoding": "UTF8",
    }
    for name, value in expected.items():
        assert sql(machine, "seller", password, f"SHOW {name}") == value, name


def test_files(machine: Machine) -> None:
    assert machine.mode("/etc/mlops/postgres") == ("0755", "0", "0")
    assert machine.mode("/etc/mlops/postgres/postgresql.conf") == ("0644", "0", "0")
    for folder in ("", "/data", "/socket"):
        assert machine.mode(f"/srv/mlops/postgres{folder}") == ("0700", "10010", "10010")


def test_limits(machine: Machine) -> None:
    limits = machine.limits("postgres")
    assert limits.cpu_quota / limits.cpu_period == 1.0
    assert limits.memory == 1024**3
    # A process for each client.
    assert limits.pids == 164


def test_keeps_what_was_committed_over_a_crash(machine: Machine) -> None:
    machine.run("docker", "kill", "postgres")
    machine.run("docker", "start", "postgres")
    machine.wait_for("docker exec postgres pg_isready -q -h 127.0.0.1")
    assert sql(machine, "seller", passwords(machine)["seller"], "SELECT id FROM kept") == "42"


def test_a_stop_does_not_wait_for_clients(machine: Machine) -> None:
    hold_connections(machine, "seller", 1)
    machine.run("docker", "stop", "--time", "20", "postgres")
    ended = machine.look_again()["postgres"]["State"]
    machine.run("docker", "start", "postgres")
    # By itself: one that is killed has 137.
    assert ended["ExitCode"] == 0
    machine.wait_for("docker exec postgres pg_isready -q -h 127.0.0.1")
