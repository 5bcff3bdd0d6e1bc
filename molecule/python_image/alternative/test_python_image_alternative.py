"""The Python image under another name."""

from __future__ import annotations

from shared.machine import Machine


def test_has_the_new_name_and_the_same_content(machine: Machine) -> None:
    listed = machine.run("docker", "image", "ls", "--format", "{{.Repository}} {{.Tag}}")
    tags = dict(line.split() for line in listed.splitlines() if "/python" in line)
    assert set(tags) == {"mlops/python", "alternative/python"}
    # The tag is the digest of what the image is built from.
    assert tags["mlops/python"] == tags["alternative/python"]
