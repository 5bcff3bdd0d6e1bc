"""Redis with nearly every variable changed."""

from __future__ import annotations

from shared.machine import Machine


def test_takes_the_new_password_at_its_new_address(machine: Machine) -> None:
    old = "Kq7vTz2mXw9dRb4sHn6y"
    new = machine.variables["redis_password"]
    for password, answer in ((old, "WRONGPASS"), (new, "PONG")):
        result = machine.host.run(
            f"docker exec --env REDISCLI_AUTH={password} redis redis-cli -h 172.30.99.11 ping"
        )
        assert answer in result.stdout + result.stderr


def test_has_the_new_settings(machine: Machine) -> None:
    limits = machine.limits("redis")
    assert limits.cpu_quota / limits.cpu_period == 0.25
    assert limits.memory == 192 * 1024**2
    assert machine.process("redis").user_id == 10511
    assert list(machine.containers["redis"]["NetworkSettings"]["Networks"]) == ["brokers"]
    assert "maxmemory 96mb" in machine.run("cat", "/etc/mlops/broker/redis.conf")
    assert machine.mode("/srv/mlops/broker") == ("0700", "10511", "10511")
