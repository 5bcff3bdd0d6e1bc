"""After another argument, a background build, an image from the archive and a failed build."""

from __future__ import annotations

from shared.machine import Machine


def test_each_argument_has_its_own_image(machine: Machine) -> None:
    references = machine.run(
        "docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "probe/greeting"
    ).split()
    greetings = {
        machine.run_image(reference, "cat", "/opt/greeting").strip() for reference in references
    }
    assert len(references) == 2
    assert greetings == {"hello", "welcome"}


def test_nothing_of_the_archive_is_left_on_the_machine(machine: Machine) -> None:
    assert not machine.host.file("/var/lib/mlops/build/archive.tar").exists


def test_a_build_that_fails_for_a_moment_is_run_again(machine: Machine) -> None:
    (name,) = machine.run(
        *("docker", "image", "ls", "--filter", "label=mlops.image=probe/flaky"),
        *("--format", "{{.Repository}}"),
    ).split()
    assert name == "probe/flaky"
