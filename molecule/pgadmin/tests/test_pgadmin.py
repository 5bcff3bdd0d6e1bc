"""pgAdmin as its user and its operator see it."""

from __future__ import annotations

import pytest

from shared.machine import Machine
from shared.pgadmin import ask
from shared.postgres import passwords, sql


@pytest.fixture(scope="module", autouse=True)
def goods(machine: Machine) -> None:
    """A table that is made after the reader, with two rows."""
    for statement in (
        "CREATE TABLE IF NOT EXISTS goods (name text PRIMARY KEY)",
        "INSERT INTO goods VALUES ('apple'), ('pear') ON CONFLICT DO NOTHING",
    ):
        sql(machine, "seller", passwords(machine)["seller"], statement)


@pytest.fixture
def password(machine: Machine) -> str:
    return str(machine.variables["pgadmin_password"])


def test_the_saved_query_gives_rows_and_nobody_types_a_password(
    machine: Machine, password: str
) -> None:
    answer = ask(machine, password, database="shop", file="/platform/goods.sql")
    assert answer == {"servers": ["Shop"], "files": ["goods.sql"], "rows": [["apple"], ["pear"]]}


def test_reads_and_changes_nothing(machine: Machine, password: str) -> None:
    def run(statement: str) -> str:
        return str(ask(machine, password, database="shop", sql=statement)["error"])

    assert "read-only transaction" in run("DELETE FROM goods")
    # What the login cannot talk itself out of.
    assert "permission denied" in run("SET transaction_read_only = off; DELETE FROM goods")


def test_refuses_a_wrong_password_however_often(machine: Machine, password: str) -> None:
    for wrong in ("not-the-password", "admin", "postgres", "password"):
        assert ask(machine, wrong) == {"refused": True}
    assert ask(machine, password)["servers"] == ["Shop"]


@pytest.mark.parametrize("path", ["/browser/", "/browser/js/utils.js", "/browser/server/nodes/1/"])
def test_shows_nothing_without_a_login(machine: Machine, path: str) -> None:
    status, body = machine.http(f"http://{machine.address('pgadmin')}:5050{path}")
    assert status in (302, 401), body
    assert "Shop" not in body


def test_is_one_process_that_answers(machine: Machine) -> None:
    processes = machine.run("docker", "top", "pgadmin", "-eo", "pid,args").splitlines()
    # The first is the one that starts the other again.
    assert len([line for line in processes if "gunicorn" in line and "tini" not in line]) == 2


def test_health_checks_leave_no_sessions(machine: Machine) -> None:
    def count() -> int:
        return len(machine.run("ls", "/srv/mlops/pgadmin/sessions").split())

    before = count()
    for _ in range(5):
        machine.execute("pgadmin", "curl", "--silent", "http://127.0.0.1:5050/misc/ping")
    assert count() == before


def test_what_the_user_keeps_is_there_after_a_restart(machine: Machine, password: str) -> None:
    mine = "/srv/mlops/pgadmin/storage/admin_mlops.example/mine.sql"
    machine.shell(f"echo 'SELECT 7' > {mine}; chown 10020:10020 {mine}")
    machine.run("docker", "restart", "pgadmin")
    machine.wait_for(
        "docker exec pgadmin curl --fail --silent http://127.0.0.1:5050/misc/ping", 120
    )
    answer = ask(machine, password, database="shop", file="/mine.sql")
    assert answer == {"servers": ["Shop"], "files": ["goods.sql"], "rows": [[7]]}


def test_files(machine: Machine) -> None:
    assert machine.mode("/etc/mlops/pgadmin") == ("0755", "0", "0")
    assert machine.mode("/etc/mlops/pgadmin/description.json") == ("0644", "0", "0")
    assert machine.mode("/srv/mlops/pgadmin") == ("0700", "10020", "10020")
    storage = "/srv/mlops/pgadmin/storage/admin_mlops.example"
    assert machine.mode(f"{storage}/.platform-passwords") == ("0600", "10020", "10020")


def test_limits(machine: Machine) -> None:
    limits = machine.limits("pgadmin")
    assert limits.cpu_quota / limits.cpu_period == 1.0
    assert limits.memory == 512 * 1024**2
