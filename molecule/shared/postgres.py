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


def with_held_connections(machine: Machine, user: str, count: int, also: str) -> tuple[str, str]:
    """Ask as `user`, who holds `count` connections, and as `also`; give what each is answered."""
    hold_connections(machine, user, count)
    try:
        mine = sql(machine, user, passwords(machine)[user], "SELECT 1")
        return mine, sql(machine, also, passwords(machine)[also], "SELECT 1")
    finally:
        admin = machine.variables["postgres_admin_password"]
        held = f"FROM pg_stat_activity WHERE usename = '{user}'"
        sql(machine, "postgres", admin, f"SELECT pg_terminate_backend(pid) {held}")


def hold_connections(machine: Machine, user: str, count: int) -> None:
    """Have so many connections of `user`, each with a statement that runs for a minute."""
    admin = machine.variables["postgres_admin_password"]
    address = machine.address("postgres")
    machine.run(
        *("docker", "exec", "--detach", "--env", f"PGPASSWORD={passwords(machine)[user]}"),
        *("postgres", "sh", "-c"),
        f"for one in $(seq {count}); do psql --host {address} --username {user} --dbname shop"
        " --command 'SELECT pg_sleep(60)' & done; wait",
    )
    held = f"FROM pg_stat_activity WHERE usename = '{user}'"
    machine.wait_for(
        f"docker exec --env PGPASSWORD={admin} postgres psql --no-psqlrc --tuples-only --no-align"
        f' --host {address} --username postgres --command "SELECT count(*) {held}"'
        f" | grep --line-regexp {count}"
    )


def passwords(machine: Machine) -> dict[str, str]:
    """The logins' passwords, by name."""
    users = machine.variables["postgres_users"] + machine.variables["postgres_readers"]
    return {user["name"]: user["password"] for user in users}
