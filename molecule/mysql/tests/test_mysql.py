"""MySQL as its clients and its operator see it."""

from __future__ import annotations

import pytest

from shared.machine import Machine
from shared.mysql import passwords, sql


def test_a_login_makes_and_fills_its_tables(machine: Machine) -> None:
    password = passwords(machine)["seller"]
    sql(machine, "seller", password, "CREATE TABLE IF NOT EXISTS kept (id int PRIMARY KEY)")
    sql(machine, "seller", password, "REPLACE INTO kept VALUES (42)")
    assert sql(machine, "seller", password, "SELECT id FROM kept") == "42"


def test_a_login_may_make_triggers(machine: Machine) -> None:
    # What MLflow's migrations do as an ordinary user (error 1419 where it is not allowed).
    answer = sql(
        machine,
        "seller",
        passwords(machine)["seller"],
        "DROP TRIGGER IF EXISTS t; "
        "CREATE TRIGGER t BEFORE INSERT ON kept FOR EACH ROW SET NEW.id = NEW.id",
    )
    assert answer == ""


@pytest.mark.parametrize("password", ["not-the-password", "", "Ny6uGm4iTo8pEr2aSq9w"])
def test_refuses_a_wrong_password(machine: Machine, password: str) -> None:
    assert "Access denied" in sql(machine, "seller", password, "SELECT 1")


def test_a_login_does_only_what_its_rights_say(machine: Machine) -> None:
    password = passwords(machine)["reader"]
    assert "Access denied" in sql(machine, "reader", password, "SELECT 1")
    assert "Access denied" in sql(machine, "reader", password, "SELECT 1", "mysql")
    assert sql(machine, "reader", password, "SELECT 1", "information_schema") == "1"


def test_the_administrator_comes_in_on_the_socket_only(machine: Machine) -> None:
    password = machine.variables["mysql_root_password"]
    answer = sql(machine, "root", password, "SELECT 1", "mysql")
    assert "Access denied" in answer or "is not allowed to connect" in answer
    on_socket = machine.execute(
        *("mysql", "with-secrets", "mysql", "--no-defaults", "--user=root"),
        *("--socket=/run/mysqld/mysqld.sock", "--batch", "--execute=SELECT CURRENT_USER()"),
    )
    assert "root@localhost" in on_socket


def test_only_one_door_is_open(machine: Machine) -> None:
    address = machine.address("mysql")
    opened = "timeout 3 bash -c '</dev/tcp/%s/%d'"
    assert machine.host.run(opened % (address, 3306)).rc == 0
    # 33060 is the X protocol's.
    assert machine.host.run(opened % (address, 33060)).rc != 0


def test_has_the_described_settings(machine: Machine) -> None:
    password = passwords(machine)["seller"]
    answer = sql(
        machine,
        "seller",
        password,
        "SELECT @@version, @@max_connections, @@innodb_buffer_pool_size, @@log_bin, "
        "@@secure_file_priv",
    )
    version, *settings = answer.split("\t")
    assert version.startswith("9.7.4")
    assert settings == ["60", str(128 * 1024**2), "0", "NULL"]


def test_files(machine: Machine) -> None:
    assert machine.mode("/etc/mlops/mysql") == ("0755", "0", "0")
    assert machine.mode("/etc/mlops/mysql/my.cnf") == ("0644", "0", "0")
    assert machine.mode("/srv/mlops/mysql") == ("0700", "10012", "10012")


def test_limits(machine: Machine) -> None:
    limits = machine.limits("mysql")
    assert limits.cpu_quota / limits.cpu_period == 1.0
    assert limits.memory == 1024**3
    assert limits.pids == 160


def test_keeps_what_was_committed_over_a_crash(machine: Machine) -> None:
    machine.run("docker", "kill", "mysql")
    machine.run("docker", "start", "mysql")
    machine.wait_for(
        "docker exec mysql with-secrets mysqladmin --no-defaults --user=root "
        "--socket=/run/mysqld/mysqld.sock ping"
    )
    assert sql(machine, "seller", passwords(machine)["seller"], "SELECT id FROM kept") == "42"
