"""What the tests of the whole platform stand on: a deployment, and ways to look into it."""

from __future__ import annotations

import json
import re
import shlex
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import pytest

from control.console import Console
from control.memory import put_in_order
from control.runner import HostRunner

REPOSITORY = Path(__file__).resolve().parent.parent
# They have an environment of their own; `browse` runs them.
collect_ignore = ["browser"]
# The data API's.
PLAIN_PORT = 80
_LINES_THAT_TELL_WHY = 60
EXAMPLE: dict[str, Any] = json.loads((REPOSITORY / "control" / "example.json").read_text())


@dataclass(frozen=True)
class Run:
    """A command that ended: what it printed, its exit status and how many seconds it took."""

    output: str
    status: int
    seconds: float


def run(command: str, *, timeout: float = 1800, folder: Path = REPOSITORY) -> Run:
    """Run a shell command line in the repository and show what it prints as it comes."""
    began = time.monotonic()
    print(f"\n$ {command}", flush=True)
    process = subprocess.Popen(
        ["bash", "-c", command],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="", flush=True)
        lines.append(line)
    status = process.wait(timeout=timeout)
    return Run("".join(lines), status, time.monotonic() - began)


def durations(up: Run) -> str:
    """Return the lines in which `make up` says how long its steps, roles and DAG tasks took."""
    told = re.compile(r"\[\d/\d\] done in| +[\w.]+ -{3,} *\d+\.\d+s$| +\d+:\d\d +\S+ +success")
    return "\n".join(line for line in up.output.splitlines() if told.match(line.rstrip()))


def browse(address: str, file: str) -> Run:
    """Run tests in a browser on the pages at an address."""
    folder = "tests/browser"
    pytest = f".venvs/browser/bin/python -m pytest --confcutdir={folder} -v --capture=no"
    return run(f"{pytest} {folder}/{file} --address={address}")


@dataclass
class Platform:
    """The deployed platform as an operator sees it."""

    address: str
    login: list[str]
    was_there: bool
    first_up: Run
    commands: set[str] = field(default_factory=set)

    def make(self, arguments: str, **options: Any) -> Run:
        """Run a verb of the Makefile."""
        self.commands.add(f"make {arguments}")
        return run(f"make {arguments}", **options)

    def ssh(self, command: str) -> str:
        """Run a command on the machine as root and return what it printed."""
        result = subprocess.run(
            [*self.login, f"sudo bash -c {shlex.quote(command)}"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert result.returncode == 0, f"{command}: {result.stderr}"
        return result.stdout

    def containers(self) -> dict[str, dict[str, Any]]:
        """Return Docker's description of every container, by name."""
        described = json.loads(self.ssh("docker inspect $(docker ps --all --quiet)"))
        return {entry["Name"].lstrip("/"): entry for entry in described}

    def services(self) -> dict[str, dict[str, Any]]:
        """Return Docker's description of the containers that always run, by name."""
        return {
            name: entry
            for name, entry in self.containers().items()
            if entry["HostConfig"]["RestartPolicy"]["Name"] == "always"
        }

    def url(self, port: int, path: str = "") -> str:
        """Return an address of the platform."""
        scheme = "http" if port == PLAIN_PORT else "https"
        return f"{scheme}://{self.address}:{port}{path}"

    @property
    def authority(self) -> Path:
        """Return the file with the certificate of the deployment's authority."""
        return REPOSITORY / ".deployment" / "certificates" / "ca.crt"

    @cached_property
    def trust(self) -> ssl.SSLContext:
        """Return what certificates are checked with: the deployment's authority alone."""
        return ssl.create_default_context(cafile=str(self.authority))

    def secret(self, name: str) -> str:
        """Return a secret of the deployment."""
        return (REPOSITORY / ".deployment" / "secrets" / name).read_text().strip()

    def predict(self, body: object = EXAMPLE) -> httpx.Response:
        """Ask for a prediction."""
        return httpx.post(self.url(8000, "/predict"), json=body, timeout=10, verify=self.trust)

    def wait_for(self, what: str, seconds: float, probe: Any) -> float:
        """Wait until `probe()` is true; return how many seconds that took."""
        began = time.monotonic()
        while True:
            try:
                if probe():
                    return time.monotonic() - began
            except (httpx.HTTPError, AssertionError, subprocess.SubprocessError):
                pass  # not there yet
            assert time.monotonic() - began < seconds, f"{what} took more than {seconds} s"
            time.sleep(0.5)


def machines() -> dict[str, Any]:
    """Return the machines that Terraform knows, none where nothing is deployed."""
    result = subprocess.run(
        ["bash", "-c", "terraform -chdir=terraform output -json machines"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    found: dict[str, Any] = json.loads(result.stdout) if result.returncode == 0 else {}
    return found


def incus_content() -> set[str]:
    """Return the names of all machines and machine images, none where Incus does not run yet."""
    listed = run("incus list --format csv --columns n && incus image list --format csv --columns l")
    return set(listed.output.split()) if listed.status == 0 else set()


@pytest.fixture(scope="session")
def platform() -> Iterator[Platform]:
    """The deployment: made by `make up`, and removed again unless it was there before."""
    was_there = bool(machines())
    others = incus_content()
    first_up = run("make up")
    if first_up.status != 0:
        # No test has anything to look at then, and what went wrong stands last in the output.
        why = "\n".join(first_up.output.splitlines()[-_LINES_THAT_TELL_WHY:])
        pytest.exit(f"make up failed; the end of its output:\n{why}", returncode=1)
    machine = machines()["mlops"]
    login = [
        *("ssh", "-i", machine["ssh_private_key_file"]),
        *("-o", f"UserKnownHostsFile={machine['ssh_known_hosts_file']}", "-o", "BatchMode=yes"),
        f"{machine['user']}@{machine['address']}",
    ]
    deployed = Platform(machine["address"], login, was_there, first_up, {"make up"})
    yield deployed
    if was_there:
        print("\nthe deployment was there before these tests; it stays")
        return
    playbook = "PATH=$PWD/../.venvs/control/bin:$PATH ansible-playbook"
    kept = run(f"{playbook} playbooks/keep_images.yml", folder=REPOSITORY / "ansible")
    assert kept.status == 0, "the images could not be kept for the scenarios of the roles"
    gone = run("make destroy CONFIRM=yes")
    assert gone.status == 0, "make destroy failed; its output says why"
    assert incus_content() <= others, "make destroy left something behind"


@pytest.fixture
def memory_in_order(platform: Platform) -> None:
    """For promises of time: what the tests before built has scattered the host's memory."""
    console = Console()
    put_in_order(HostRunner(console), console)
