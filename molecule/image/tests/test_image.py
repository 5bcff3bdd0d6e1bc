"""An image that the role built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shared.machine import Machine

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def images(machine: Machine) -> list[str]:
    return machine.run(
        "docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "probe/greeting"
    ).split()


@pytest.fixture(scope="module")
def described(machine: Machine) -> dict[str, Any]:
    # The second run built none.
    (reference,) = images(machine)
    found: dict[str, Any] = json.loads(machine.run("docker", "image", "inspect", reference))[0]
    return found


def test_the_tag_is_a_digest(machine: Machine) -> None:
    (reference,) = images(machine)
    digest = reference.partition(":")[2]
    assert len(digest) == 12
    assert int(digest, 16) > 0


def test_is_labelled_with_its_name(described: dict[str, Any]) -> None:
    assert described["Config"]["Labels"]["mlops.image"] == "probe/greeting"


def test_has_the_argument_and_the_context(machine: Machine, described: dict[str, Any]) -> None:
    assert machine.run_image(described["Id"], "cat", "/opt/greeting").strip() == "hello"
    assert (
        machine.run_image(described["Id"], "cat", "/opt/package/content.txt").strip() == "content"
    )


def test_tests_are_left_out(machine: Machine, described: dict[str, Any]) -> None:
    assert machine.run_image(described["Id"], "ls", "/opt/package").split() == ["content.txt"]


def test_the_build_trusts_the_hosts_authorities_and_the_image_does_not(
    machine: Machine, described: dict[str, Any]
) -> None:
    lines = machine.run_image(described["Id"], "cat", "/opt/certificates")
    assert int(lines) == CERTIFICATES.read_text().count("\n")
    left = machine.run_image(described["Id"], "sh", "-c", "ls /run/secrets 2>/dev/null | wc -l")
    assert left.strip() == "0"


def test_the_context_on_the_machine_belongs_to_root(machine: Machine) -> None:
    assert machine.mode("/var/lib/mlops/build/probe/greeting/Dockerfile") == ("0644", "0", "0")
