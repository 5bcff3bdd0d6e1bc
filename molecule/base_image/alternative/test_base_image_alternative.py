"""The base image with another name and one more package."""

from __future__ import annotations

from shared.machine import Machine


def test_both_images_are_there_and_differ(machine: Machine) -> None:
    listed = machine.run("docker", "image", "ls", "--format", "{{.Repository}} {{.Tag}} {{.ID}}")
    images = dict(line.split(maxsplit=1) for line in listed.splitlines())
    assert set(images) == {"mlops/debian", "alternative/debian"}
    assert len(set(images.values())) == 2


def test_has_the_further_package(machine: Machine) -> None:
    reference = machine.run(
        "docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "alternative/debian"
    ).strip()
    assert machine.run_image(reference, "less", "--version").startswith("less")
