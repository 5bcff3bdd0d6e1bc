import json
from pathlib import Path

import pytest

from control import terraform
from control.errors import ControlError
from control.packages import Packages
from control.project import Project
from control.runner import Completed
from control.terraform import OPENTOFU_SUM, Terraform
from control.tests.conftest import FakeRunner, Screen

MACHINE = {
    "type": "container",
    "address": "10.9.8.202",
    "groups": ["platform"],
    "user": "mlops",
    "ssh_private_key_file": "/key",
    "ssh_known_hosts_file": None,
}


def outputs(machines: dict[str, object]) -> str:
    return json.dumps({"machines": {"value": machines}})


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing on it."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def put(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.touch(mode=0o755)
    return path


def version(number: str) -> str:
    return json.dumps({"terraform_version": number})


def ensure(project: Project, runner: FakeRunner, screen: Screen) -> Path:
    packages = Packages(runner, screen, project.root / "x.sources")
    return terraform.ensure_program(project, runner, screen, packages, None)


def test_program_that_is_new_enough_is_taken(
    project: Project, runner: FakeRunner, screen: Screen, programs: Path
) -> None:
    old, new = put(programs, "terraform"), put(programs, "tofu")
    runner.replies |= {f"{old} version": version("1.5.7"), f"{new} version": version("1.10.6-dev")}
    assert ensure(project, runner, screen) == new
    runner.replies[f"{old} version"] = version("1.11.4")
    assert ensure(project, runner, screen) == old


def test_program_that_does_not_run_is_passed_over(
    project: Project, runner: FakeRunner, programs: Path
) -> None:
    broken = put(programs, "terraform")
    runner.replies[f"{broken} version"] = Completed(126)
    assert terraform.find_program(project, runner) is None


def test_opentofu_is_built_where_there_is_none(
    project: Project, runner: FakeRunner, screen: Screen, programs: Path
) -> None:
    go = put(programs, "go")
    runner.replies[f"{go} version"] = "go version go1.22.2 linux/amd64"
    runner.replies[f"{go} mod download"] = json.dumps({"Sum": OPENTOFU_SUM, "Dir": "/module"})

    def build(_: str) -> Completed:
        (project.tools / "tofu.unfinished").touch(mode=0o755)
        return Completed(0)

    runner.replies[f"{go} build"] = build
    built = ensure(project, runner, screen)
    assert built == project.tools / "tofu"
    assert "building OpenTofu" in screen.text
    runner.replies[f"{built} version"] = version("1.10.10")
    runner.commands.clear()
    assert ensure(project, runner, screen) == built
    assert runner.commands == [f"{built} version -json"]


def test_go_is_installed_where_it_is_missing(
    project: Project, runner: FakeRunner, screen: Screen, programs: Path
) -> None:
    with pytest.raises(ControlError, match=r"There is no Go.*\nInstall Terraform or OpenTofu 1\.9"):
        ensure(project, runner, screen)
    assert runner.commands[-1].endswith("install --no-install-recommends golang-go")


def test_changed_module_is_refused(
    project: Project, runner: FakeRunner, screen: Screen, programs: Path
) -> None:
    go = put(programs, "go")
    runner.replies[f"{go} version"] = "go version go1.22.2 linux/amd64"
    runner.replies[f"{go} mod download"] = json.dumps({"Sum": "h1:other", "Dir": "/module"})
    with pytest.raises(ControlError, match="has the sum h1:other"):
        ensure(project, runner, screen)
    assert runner.called(f"{go} build") == []


def test_machines(project: Project, runner: FakeRunner, screen: Screen) -> None:
    this = Terraform(Path("terraform"), project, runner, screen)
    runner.replies["terraform"] = "{}"
    assert this.machines() == []
    with pytest.raises(ControlError, match="Nothing is deployed"):
        this.platform_machine()
    runner.replies["terraform"] = outputs(
        {
            "mlops": MACHINE,
            "loadtest": MACHINE | {"groups": ["loadtest"], "type": "existing"},
        }
    )
    assert [(machine.name, machine.is_ours) for machine in this.machines()] == [
        ("loadtest", False),
        ("mlops", True),
    ]
    assert this.platform_machine().address == "10.9.8.202"


def test_apply_needs_no_person(project: Project, runner: FakeRunner, screen: Screen) -> None:
    this = Terraform(Path("terraform"), project, runner, screen)
    this.init()
    this.apply()
    this.destroy()
    for command in runner.commands:
        assert command.startswith(f"terraform -chdir={project.terraform} ")
        assert "-input=false" in command
        assert command.endswith("-no-color")
    assert "-auto-approve" in runner.commands[1]
    assert "-auto-approve" in runner.commands[2]


def test_configuration_without_a_version(project: Project) -> None:
    (project.terraform / "versions.tf").write_text("terraform {}")
    with pytest.raises(ControlError, match="does not say required_version"):
        terraform.required_version(project)


def test_looking_verbs_install_nothing(
    project: Project, runner: FakeRunner, screen: Screen, programs: Path
) -> None:
    with pytest.raises(ControlError, match=r"no Terraform yet\. Run `make up`"):
        terraform.existing_terraform(project, runner, screen)
    assert runner.commands == []
