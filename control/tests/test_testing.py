import re
import sys
from pathlib import Path

import pytest

from control.environments import Environments
from control.errors import Interrupted
from control.packages import Packages
from control.project import Project
from control.runner import Completed
from control.testing import BROWSER_PACKAGES, PYTHON_PACKAGES, TEST_PACKAGES, Suite
from control.tests.conftest import FakeRunner, Screen


@pytest.fixture
def tests(project: Project, runner: FakeRunner, screen: Screen) -> Suite:
    for package in PYTHON_PACKAGES:
        lock = project.root / package.lock
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.write_text("uv==1 --hash=sha256:00\n")
    (project.ansible / "playbooks" / "scale.yml").touch()
    scenario = project.root / "molecule" / "redis" / "molecule.yml"
    scenario.parent.mkdir(parents=True)
    scenario.touch()
    runner.replies["dpkg-query"] = "".join(
        f"{name} installed\n" for name in (*TEST_PACKAGES, *BROWSER_PACKAGES)
    )

    def make_environment(command: str) -> Completed:
        Path(command.split()[-1]).mkdir(parents=True)
        return Completed(0)

    runner.replies[f"{project.environments}/control/bin/uv venv"] = make_environment
    runner.replies[f"{sys.executable} -m venv"] = make_environment
    return Suite(
        project,
        runner,
        screen,
        Environments(project, runner, screen),
        Packages(runner, screen, project.root / "x.sources"),
        Path("/bin/terraform"),
        lambda: screen.say("ready for machines"),
    )


def test_layers_run_in_order_and_are_counted(
    tests: Suite, runner: FakeRunner, screen: Screen
) -> None:
    assert tests.run()
    lines = screen.text.splitlines()
    assert [line.split(":")[0] for line in lines if line.startswith("===")] == [
        "=== quick",
        "=== platform",
        "=== roles",
    ]
    passed = int(lines[-1].removesuffix(" passed, 0 failed"))
    assert passed == screen.text.count("\n--- ") > 15
    ran = "\n".join(runner.commands)
    for part in (
        "ruff check .",
        "ruff format --check .",
        "yamllint --strict ansible api control",
        "ansible-lint --offline --nocolor --profile production",
        "site.yml playbooks/scale.yml",
        "fmt -check -diff -recursive",
        "terraform -chdir=terraform test",
        "molecule test --scenario-name redis",
        "pytest -v --capture=no",
    ):
        assert part in ran
    assert ran.count("mypy --strict") == len(PYTHON_PACKAGES)
    assert ran.count("-m pytest -q") == sum(bool(package.tests) for package in PYTHON_PACKAGES)


def test_the_platform_is_tested_with_a_browser(
    tests: Suite, runner: FakeRunner, project: Project
) -> None:
    runner.replies["dpkg-query"] = "libnss3-tools installed\n"
    tests.run("platform")
    ran = "\n".join(runner.commands)
    made, installed = f"uv venv -q --python {sys.executable} {project.environments}", "chromium"
    assert ran.index(f"{made}/browser") < ran.index("pytest -v --capture=no")
    assert ran.index(f"--no-install-recommends {installed}") < ran.index("pytest -v")


def test_roles_are_tested_where_machines_can_be_made(
    tests: Suite, runner: FakeRunner, screen: Screen, project: Project
) -> None:
    molecule = project.environments / "control" / "bin" / "molecule"
    runner.replies[f"{molecule} test"] = Completed(
        0, "70 assertions held\n1 passed in 2s\n12 assertions held\n", ""
    )
    assert tests.run("roles")
    assert screen.text.index("ready for machines") < screen.text.index("--- molecule: redis")
    assert re.search(r"roles +molecule: redis +passed +\S.* 82$", screen.text, re.MULTILINE)


def test_each_package_is_tested_with_its_own_environment(
    tests: Suite, runner: FakeRunner, project: Project
) -> None:
    tests.run("quick")
    python = project.environments / "api" / "bin" / "python"
    index = runner.commands.index(f"{python} -m pytest -q tests")
    assert runner.folders[index] == project.root / "api"


def test_failing_layer_runs_to_its_end_and_is_the_last(
    tests: Suite, runner: FakeRunner, screen: Screen, project: Project
) -> None:
    ruff = project.environments / "control" / "bin" / "ruff"
    runner.replies[f"{ruff} check"] = Completed(1, "x.py: E501", "")
    assert not tests.run()
    assert "x.py: E501" in screen.text
    assert "unit tests: dags" in screen.text
    assert "=== roles" not in screen.text
    lines = screen.text.splitlines()
    assert lines[lines.index("--- ruff check FAILED; from what it printed:") + 1] == (
        "    x.py: E501"
    )
    *_, counts, reason = lines
    assert counts.endswith(" passed, 1 failed")
    assert not counts.startswith("0 ")
    assert reason == "    ruff check: x.py: E501"


@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        (
            "E   assert 1\n... took 1 s\nFAILED tests/test_x.py::test_a - assert 1\n"
            "ERROR tests/test_x.py::test_b\n= 1 failed =",
            "tests/test_x.py::test_a - assert 1; tests/test_x.py::test_b",
        ),
        ("FAILED - RETRYING: [m]: Wait\nfatal: [m]: no disk\nPLAY RECAP", "fatal: [m]: no disk"),
        ("", "it printed nothing"),
        ("x" * 301, "x" * 300 + "..."),
    ],
)
def test_the_last_line_says_what_failed(
    tests: Suite, runner: FakeRunner, screen: Screen, project: Project, printed: str, reason: str
) -> None:
    molecule = project.environments / "control" / "bin" / "molecule"
    runner.replies[f"{molecule} test"] = Completed(1, printed, "")
    assert not tests.run("roles")
    assert screen.text.splitlines()[-1] == f"    molecule: redis: {reason}"


@pytest.mark.parametrize("wrong", ["fatal: [machine]: FAILED! =>", "E   assert 2 == 0"])
def test_tells_again_where_it_went_wrong_and_how_it_ended(
    tests: Suite, runner: FakeRunner, screen: Screen, project: Project, wrong: str
) -> None:
    molecule = project.environments / "control" / "bin" / "molecule"
    printed = [
        *("fatal: expected", "...ignoring"),
        *(f"before {number}" for number in range(100)),
        *("TASK [Run probe]", wrong, "    msg: busy"),
        *(f"after {number}" for number in range(100)),
    ]
    runner.replies[f"{molecule} test"] = Completed(2, "\n".join(printed), "")
    assert not tests.run("roles")
    again = screen.text[screen.text.index("FAILED; from what it printed:") :]
    assert "fatal: expected" not in again
    assert "    after 70\n" in again
    assert (
        "    after 99\n\n--- molecule: redis went wrong here:\n    before 98\n    before 99\n"
        f"    TASK [Run probe]\n    {wrong}\n        msg: busy\n    after 0\n"
    ) in again
    assert "after 40" not in again


def test_bare_machines_are_tested_while_the_prepared_one_is_made(
    tests: Suite, project: Project
) -> None:
    for file, text in {
        "webserver/prepare.yml": "",
        "webserver/molecule.yml": "",
        "worker/prepare.yml": "",
        "worker/molecule.yml": "",
        "disk/molecule.yml": "begins_on_a_bare_machine: true\n",
    }.items():
        path = project.root / "molecule" / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    roles = next(layer for layer in tests.layers() if layer.name == "roles")
    assert [check.title for check in roles.checks()] == [
        *("molecule: webserver", "molecule: disk"),
        # Of the others, those first that need other roles' services, which takes longest.
        *("molecule: worker", "molecule: redis"),
    ]


def test_nothing_to_run_is_no_success(tests: Suite, screen: Screen, project: Project) -> None:
    (project.root / "molecule" / "redis" / "molecule.yml").unlink()
    assert not tests.run("roles")
    assert "there is nothing to run" in screen.text
    assert screen.text.splitlines()[-1] == "0 passed, 0 failed"


def test_interrupted_layer_interrupts_its_checks(
    tests: Suite, runner: FakeRunner, project: Project
) -> None:
    def interrupt(command: str) -> Completed:
        raise Interrupted

    ruff = project.environments / "control" / "bin" / "ruff"
    runner.replies[f"{ruff} check"] = interrupt
    with pytest.raises(Interrupted):
        tests.run()
    assert runner.interrupts == 1
