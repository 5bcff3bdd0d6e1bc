"""Redis as its clients and its operator see it."""

from __future__ import annotations

import shlex

from shared.machine import Machine


def redis(machine: Machine, *command: str, password: str | None = None) -> str:
    """Send a command as a client on the network does, with its own password or none."""
    environment = ("--env", f"REDISCLI_AUTH={password}") if password else ()
    client = ("docker", "exec", *environment, "redis", "redis-cli", "-h", machine.address("redis"))
    result = machine.host.run(shlex.join((*client, *command)))
    return str(result.stdout + result.stderr)


def test_refuses_clients_without_the_password(machine: Machine) -> None:
    assert "NOAUTH" in redis(machine, "ping")
    assert "NOAUTH" in redis(machine, "get", "key")


def test_refuses_a_wrong_password(machine: Machine) -> None:
    assert "WRONGPASS" in redis(machine, "ping", password="not-the-password")


def test_serves_clients_with_the_password(machine: Machine) -> None:
    password = machine.variables["redis_password"]
    assert redis(machine, "set", "key", "value", password=password).strip() == "OK"
    assert redis(machine, "get", "key", password=password).strip() == "value"


def test_refuses_messages_rather_than_forget_old_ones(machine: Machine) -> None:
    password = machine.variables["redis_password"]
    policy = redis(machine, "config", "get", "maxmemory-policy", password=password)
    assert policy.split() == ["maxmemory-policy", "noeviction"]


def test_keeps_messages_over_a_crash(machine: Machine) -> None:
    password = machine.variables["redis_password"]
    redis(machine, "set", "kept", "over-a-crash", password=password)
    redis(machine, "waitaof", "1", "0", "5000", password=password)
    machine.run("docker", "kill", "redis")
    machine.run("docker", "start", "redis")
    machine.wait_for("docker exec redis with-secrets redis-cli ping | grep --quiet PONG")
    assert redis(machine, "get", "kept", password=password).strip() == "over-a-crash"


def test_files(machine: Machine) -> None:
    assert machine.mode("/etc/mlops/redis") == ("0755", "0", "0")
    assert machine.mode("/etc/mlops/redis/redis.conf") == ("0644", "0", "0")
    assert machine.mode("/srv/mlops/redis") == ("0700", "10011", "10011")


def test_limits(machine: Machine) -> None:
    limits = machine.limits("redis")
    assert limits.cpu_quota / limits.cpu_period == 0.5
    assert limits.memory == 256 * 1024**2
