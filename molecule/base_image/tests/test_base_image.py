"""The image that all others are built from."""

from __future__ import annotations

import shlex

import pytest

from shared.machine import Machine


@pytest.fixture(scope="module")
def reference(machine: Machine) -> str:
    listed = machine.run(
        "docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "mlops/debian"
    )
    assert len(listed.split()) == 1
    return listed.strip()


def inside(machine: Machine, reference: str, script: str, *options: str) -> str:
    """Run a script in a container of the image."""
    return machine.run_image(reference, "sh", "-c", script, options=options)


def test_the_tag_names_the_release_and_the_recipe(reference: str) -> None:
    release, _, digest = reference.partition(":")[2].partition("-")
    assert release == "trixie"
    assert len(digest) == 12
    assert int(digest, 16) > 0


def test_is_debian_13_and_small(machine: Machine, reference: str) -> None:
    assert "VERSION_CODENAME=trixie" in inside(machine, reference, "cat /etc/os-release")
    size = machine.run("docker", "image", "inspect", "--format", "{{.Size}}", reference)
    assert int(size) < 110_000_000
    manuals = inside(machine, reference, "find /usr/share/man -type f 2>/dev/null | wc -l")
    assert manuals.strip() == "0"


@pytest.mark.parametrize("program", ["tini", "curl", "with-secrets"])
def test_has_what_every_container_needs(machine: Machine, reference: str, program: str) -> None:
    path = inside(machine, reference, f"command -v {program}").strip()
    assert path.startswith("/usr/")
    mode = inside(machine, reference, f"stat --format '%a %u %g' {path}").split()
    assert mode == ["755", "0", "0"]


def test_trusts_debians_certificate_authorities_only(machine: Machine, reference: str) -> None:
    expected = machine.run("sh", "-c", "ls /usr/share/ca-certificates/mozilla | wc -l")
    assert inside(machine, reference, "ls /usr/share/ca-certificates/mozilla | wc -l") == expected
    assert inside(machine, reference, "ls /usr/local/share/ca-certificates").strip() == ""


def test_hands_secrets_over_as_variables(machine: Machine, reference: str) -> None:
    lines = 'NAME=a value = with signs\nSECOND=$HOME `id` "quoted"\n'
    machine.shell(
        f"mkdir -p /root/probe && printf %s {shlex.quote(lines)} > /root/probe/environment"
    )
    printed = inside(
        machine,
        reference,
        "with-secrets sh -c 'echo \"$NAME|$SECOND\"'",
        *("--volume", "/root/probe:/run/secrets:ro"),
    )
    machine.run("rm", "-r", "/root/probe")
    assert printed.strip() == 'a value = with signs|$HOME `id` "quoted"'


def test_runs_programs_without_secrets_too(machine: Machine, reference: str) -> None:
    assert inside(machine, reference, "with-secrets echo well").strip() == "well"
