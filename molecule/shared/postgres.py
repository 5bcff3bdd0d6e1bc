"""PostgreSQL as a client on its network reaches it."""

from __future__ import annotations

from shared.machine import Machine


def sql(machine: Machine, user: str, password: str, statement: str, database: str = "shop") -> str:
    """Run a statement over the network; return what comes back, errors included."""
    result = machine.host.run(
        "docker exec --env PGPASSWORD=%s postgres psql --no-psqlrc --tuples-only --no-align "
        "--host %s --username %s --dbname %s --command %s",
        *(password, machine.address("postgres"), user, database, statement),
    )
    return str(result.stdout + result.stderr).strip()


def passwords(machine: Machine) -> dict[str, str]:
    """The logins' passwords, by name."""
    users = machine.variables["postgres_users"] + machine.variables["postgres_readers"]
    return {user["name"]: user["password"] for user in users}
