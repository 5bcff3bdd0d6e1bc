"""The image that the Python services are built from."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.machine import Machine

PINNED = Path(__file__).resolve().parents[3] / "roles/python_image/files/image/requirements.in"

# A package of one small file; the hash is that of its wheel on the package index.
REQUIREMENT = (
    "six==1.17.0 --hash=sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274"
)


@pytest.fixture(scope="module")
def reference(machine: Machine) -> str:
    return machine.run(
        "docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "mlops/python"
    ).strip()


def test_has_debians_python(machine: Machine, reference: str) -> None:
    assert machine.run_image(reference, "python3", "--version").startswith("Python 3.13.")


def test_keeps_nothing_of_the_packages_installation(machine: Machine, reference: str) -> None:
    kept = machine.run_image(reference, "du", "-sk", "/var/cache/apt", "/var/lib/apt/lists")
    assert sum(int(line.split()[0]) for line in kept.splitlines()) < 100


def test_has_the_pinned_installer(machine: Machine, reference: str) -> None:
    version = PINNED.read_text().strip().replace("==", " ")
    assert machine.run_image(reference, "/opt/uv/bin/uv", "--version").startswith(version)


def test_containers_write_no_byte_code(machine: Machine, reference: str) -> None:
    variables = machine.run_image(reference, "env").splitlines()
    assert "PYTHONDONTWRITEBYTECODE=1" in variables
    assert "PYTHONUNBUFFERED=1" in variables
    path = next(line for line in variables if line.startswith("PATH="))
    assert path.startswith("PATH=/opt/venv/bin:")


def test_libraries_tell_their_makers_nothing(machine: Machine, reference: str) -> None:
    variables = machine.run_image(reference, "env").splitlines()
    assert {"ORT_DISABLE_TELEMETRY=1", "MLFLOW_DISABLE_TELEMETRY=true"} <= set(variables)


def build(machine: Machine, reference: str, requirement: str) -> tuple[int, str]:
    """Build an image on top with one requirement, as the services do."""
    dockerfile = (
        f"FROM {reference}\n"
        "COPY lock.txt /tmp/lock.txt\n"
        "RUN --mount=type=secret,id=ca,mode=0444 install-requirements /tmp/lock.txt\n"
    )
    machine.shell(
        "mkdir -p /root/probe && cd /root/probe && "
        f"printf %s '{dockerfile}' > Dockerfile && echo '{requirement}' > lock.txt"
    )
    result = machine.host.run(
        "docker build --progress plain --tag probe "
        "--secret id=ca,src=/var/lib/mlops/build/ca-certificates.crt /root/probe"
    )
    return result.rc, result.stdout + result.stderr


def test_installs_what_is_locked(machine: Machine, reference: str) -> None:
    status, printed = build(machine, reference, REQUIREMENT)
    assert status == 0, printed
    assert (
        machine.run_image("probe", "python", "-c", "import six; print(six.__version__)")
        == "1.17.0\n"
    )
    # Compiled when it was built: a container cannot do so later.
    cached = machine.run_image(
        "probe", "sh", "-c", "ls /opt/venv/lib/python3.13/site-packages/__pycache__"
    )
    assert "six.cpython-313.pyc" in cached


def test_refuses_what_has_another_hash(machine: Machine, reference: str) -> None:
    status, printed = build(machine, reference, REQUIREMENT.replace("4721f391", "00000000"))
    assert status != 0
    assert "hash" in printed.lower()


def test_refuses_what_has_no_hash(machine: Machine, reference: str) -> None:
    status, printed = build(machine, reference, REQUIREMENT.split()[0])
    assert status != 0
    assert "hash" in printed.lower()
