"""nginx as a client outside sees it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from shared.machine import Machine

BALANCED = "http://127.0.0.1:8000"
TALKING = "http://127.0.0.1:8001"
NEAR = "http://127.0.0.1:8003"


def ask(
    machine: Machine, times: int, *options: str, path: str = "/", site: str = BALANCED
) -> list[tuple[int, Any]]:
    """Send requests on connections of their own; return status and answer of each."""
    line = " ".join(f"'{option}'" for option in options)
    printed = machine.shell(
        f"for i in $(seq {times}); do "
        f"curl --silent --max-time 20 --write-out ' %{{http_code}}\n' {line} {site}{path}; done"
    )
    answers = []
    for answer in printed.splitlines():
        body, _, status = answer.rpartition(" ")
        answers.append((int(status), json.loads(body) if body.startswith("{") else body))
    return answers


def servers(answers: list[tuple[int, Any]]) -> Counter[str]:
    """How often each server answered well."""
    return Counter(body["server"] for status, body in answers if status == 200)


def test_balances_over_both_servers(machine: Machine) -> None:
    counted = servers(ask(machine, 20))
    assert counted.total() == 20
    assert set(counted) == {"server-1", "server-2"}
    assert min(counted.values()) >= 8


@contextmanager
def one_server_alone(machine: Machine, action: str) -> Iterator[None]:
    """Have the first of two servers end by this verb of Docker's, and answer again afterwards."""
    machine.run("docker", action, "server-1")
    try:
        yield
    finally:
        machine.run("docker", "start", "server-1")
        machine.wait_for("curl --silent --fail http://172.30.98.21:8000/")


@pytest.mark.parametrize("action", ["stop", "kill"])
def test_a_dead_server_is_taken_out_and_comes_back(machine: Machine, action: str) -> None:
    with one_server_alone(machine, action):
        dead = ask(machine, 12)
    assert servers(dead) == {"server-2": 12}
    machine.shell("sleep 1.5")
    assert set(servers(ask(machine, 12))) == {"server-1", "server-2"}


def test_a_post_goes_to_another_server_only_where_that_does_no_harm(machine: Machine) -> None:
    with one_server_alone(machine, "kill"):
        # As many as it takes for nginx to try the dead one again.
        answers = ask(machine, 12, "--data", "x", path="/predict")
    assert servers(answers) == {"server-2": 12}


def test_servers_at_unix_sockets_share_the_requests_and_may_die(machine: Machine) -> None:
    assert set(servers(ask(machine, 12, site=NEAR))) == {"server-1", "server-2"}
    with one_server_alone(machine, "kill"):
        answers = ask(machine, 12, "--data", "x", path="/predict", site=NEAR)
    assert servers(answers) == {"server-2": 12}
    machine.shell("sleep 1.5")
    assert set(servers(ask(machine, 12, site=NEAR))) == {"server-1", "server-2"}


def test_tells_the_server_who_asks(machine: Machine) -> None:
    ((_, answer),) = ask(machine, 1, "--header", "Host: portal.example")
    headers = answer["headers"]
    assert headers["host"] == "portal.example"
    assert headers["x-forwarded-proto"] == "http"
    assert headers["x-forwarded-for"].count(".") == 3


def test_only_websockets_are_upgraded_and_only_where_allowed(machine: Machine) -> None:
    for base, protocol, expected in (
        (TALKING, "websocket", "websocket"),
        (TALKING, "h2c", None),
        (BALANCED, "websocket", None),
    ):
        upgrade = ("--header", f"Upgrade: {protocol}", "--header", "Connection: Upgrade")
        headers = machine.get_json(base, *upgrade)["headers"]
        assert headers.get("upgrade") == expected, (base, protocol)
        assert ("connection" in headers) == (expected is not None), (base, protocol)


def test_connections_to_servers_are_used_again(machine: Machine) -> None:
    ask(machine, 10)
    opened = machine.shell(
        "nsenter --net --target $(docker inspect --format '{{.State.Pid}}' nginx) "
        "ss --tcp --no-header state established '( dport = :8000 )' | wc -l"
    )
    assert 1 <= int(opened) <= 10


def test_a_reload_hangs_up_on_nobody(machine: Machine) -> None:
    # One that asks again on its connection is answered, and told that this was the last time.
    script = """
import http.client, subprocess, time
connection = http.client.HTTPConnection("127.0.0.1", 8000)
for reload in (True, False):
    connection.request("GET", "/")
    answer = connection.getresponse()
    answer.read()
    print(answer.status, answer.will_close)
    if reload:
        subprocess.run(["docker", "exec", "nginx", *RELOAD], check=True, capture_output=True)
        time.sleep(1)
"""
    reload = ["nginx", "-c", "/etc/nginx/platform/nginx.conf", "-s", "reload"]
    printed = machine.run("python3", "-c", f"RELOAD = {reload}\n{script}")
    assert printed.split() == ["200", "False", "200", "True"]


def test_a_guarded_site_is_shown_to_its_user_alone(machine: Machine) -> None:
    guarded = "http://127.0.0.1:8002"
    assert machine.http(guarded)[0] == 401
    assert machine.http(f"{guarded}/health")[0] == 200
    assert machine.http(guarded, "--user", "keeper:not-the-password")[0] == 401
    assert machine.http(guarded, "--user", "keeper:Uq4rTy7wEz2xCv9bNm3k")[0] == 200
    assert machine.mode("/etc/mlops/nginx/login-guarded") == ("0400", "10018", "0")
    assert "Uq4rTy7wEz2xCv9bNm3k" not in machine.run("cat", "/etc/mlops/nginx/login-guarded")


def test_a_sealed_site_is_served_to_those_that_trust_its_authority(machine: Machine) -> None:
    sealed = f"https://{machine.variables['ansible_host']}:8443"
    trust = ("--cacert", "/etc/mlops/certificates/ca.crt")
    assert machine.get_json(sealed, *trust)["headers"]["x-forwarded-proto"] == "https"
    for options, reason in (((), "certificate"), ((*trust, "--tls-max", "1.1"), "TLS|protocol")):
        refused = machine.host.run(f"curl --silent --show-error {' '.join(options)} {sealed}")
        assert refused.rc != 0
        assert re.search(reason, refused.stderr)


def test_containers_reach_a_sealed_site_in_plain(machine: Machine) -> None:
    ask = "import urllib.request; print(urllib.request.urlopen('http://172.30.98.2:8444').status)"
    assert machine.execute("server-2", "python3", "-c", ask).strip() == "200"
    assert machine.host.run("curl --silent --max-time 5 http://127.0.0.1:8444").rc != 0


def test_what_comes_in_plain_to_a_sealed_site_is_redirected(machine: Machine) -> None:
    plain = f"http://{machine.variables['ansible_host']}:8443/path?query=1"
    status, answer = machine.http(plain, "--include", "--data", "x")
    assert status == 308
    assert f"Location: {plain.replace('http', 'https', 1)}\r" in answer


def test_bodies_are_bounded(machine: Machine) -> None:
    large = ("--data-binary", "x" * 2000)
    assert machine.http(TALKING, *large)[0] == 413
    assert machine.http(BALANCED, *large)[0] == 200


def test_more_requests_than_the_servers_may_have_are_refused_without_a_word(
    machine: Machine,
) -> None:
    logged = "docker logs nginx 2>&1 | wc -l"
    before = machine.shell(logged)
    printed = machine.shell(
        f"seq 8 | xargs -P 8 -I N curl --silent --include {TALKING}/slow"
        " | grep --only-matching --extended-regexp 'HTTP/1.1 [0-9]+|Retry-After: 1|.detail.'"
    )
    found = Counter(printed.splitlines())
    assert found == {
        "HTTP/1.1 200": 3,
        "HTTP/1.1 503": 5,
        "Retry-After: 1": 5,
        '"detail"': 5,
    }
    # In a flood they would be all that the log keeps.
    assert machine.shell(logged) == before


def test_tells_nobody_its_version(machine: Machine) -> None:
    _, body = machine.http(BALANCED, "--include", "--request", "TRACE")
    assert "Server: nginx\r" in body


def test_publishes_its_sites_and_nothing_else(machine: Machine) -> None:
    assert set(machine.containers["nginx"]["HostConfig"]["PortBindings"]) == {
        "8000/tcp",
        "8001/tcp",
        "8002/tcp",
        "8003/tcp",
        "8443/tcp",
    }


def test_limits(machine: Machine) -> None:
    limits = machine.limits("nginx")
    assert limits.cpu_quota / limits.cpu_period == 1.0
    assert limits.memory == 512 * 1024**2
    assert machine.execute("nginx", "cat", "/proc/sys/net/core/somaxconn").strip() == "8192"


def test_may_have_huge_pages(machine: Machine) -> None:
    assert machine.may_have_huge_pages("nginx") == machine.lets_have_huge_pages


def test_files(machine: Machine) -> None:
    assert machine.mode("/etc/mlops/nginx") == ("0755", "0", "0")
    assert machine.mode("/etc/mlops/nginx/nginx.conf") == ("0644", "0", "0")
    assert machine.mode("/etc/mlops/nginx/server.key") == ("0400", "10018", "0")


def test_has_a_file_for_every_connection(machine: Machine) -> None:
    printed = machine.execute("nginx", "sh", "-c", "grep 'open files' /proc/[0-9]*/limits")
    # The first process has what it was given; the one that it made has what it asked for.
    assert "12100" in printed.split()
