"""nginx with nearly every variable changed."""

from __future__ import annotations

from shared.machine import Machine


def test_publishes_the_new_site_alone(machine: Machine) -> None:
    assert machine.get_json("http://127.0.0.1:8080/")["server"] == "server-2"
    assert set(machine.containers["nginx"]["HostConfig"]["PortBindings"]) == {"8080/tcp"}


def test_has_the_new_settings(machine: Machine) -> None:
    networks = machine.containers["nginx"]["NetworkSettings"]["Networks"]
    assert networks["mlops"]["IPAddress"] == "172.30.98.3"
    settings = machine.execute("nginx", "nginx", "-T", "-c", "/etc/nginx/platform/nginx.conf")
    for line in (
        "worker_processes 2;",
        "worker_connections 500;",
        "listen 8080 backlog=2048;",
        "listen 127.0.0.1:8190;",
        "keepalive_min_timeout 3s;",
        "proxy_read_timeout 5s;",
    ):
        assert line in settings
    assert machine.process("nginx").user_id == 10518
    assert machine.mode("/etc/mlops/balancer/nginx.conf") == ("0644", "0", "0")


def test_has_the_folders_of_sockets_to_read_alone(machine: Machine) -> None:
    mounts = machine.containers["nginx"]["Mounts"]
    folders = {mount["Source"]: mount["RW"] for mount in mounts if "sockets" in mount["Source"]}
    assert folders == {"/srv/sockets": False, "/srv/other_sockets": False}


def test_has_the_new_limits(machine: Machine) -> None:
    limits = machine.limits("nginx")
    assert limits.cpu_quota / limits.cpu_period == 0.75
    assert limits.memory == 256 * 1024**2
    assert limits.cpu_weight > 1024
    assert machine.execute("nginx", "cat", "/proc/sys/net/core/somaxconn").strip() == "2048"
