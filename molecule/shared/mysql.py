"""MySQL as a client on its network reaches it."""

from __future__ import annotations

from shared.machine import Machine


def sql(machine: Machine, user: str, password: str, statement: str, database: str = "shop") -> str:
    """Run a statement over the network; return what comes back, errors included."""
    result = machine.host.run(
        "docker exec --env MYSQL_PWD=%s mysql mysql --no-defaults --batch --skip-column-names "
        "--host=%s --user=%s --execute=%s %s",
        *(password, machine.address("mysql"), user, statement, database),
    )
    return str(result.stdout + result.stderr).strip()


def passwords(machine: Machine) -> dict[str, str]:
    """The logins' passwords, by name."""
    return {user["name"]: user["password"] for user in machine.variables["mysql_users"]}
