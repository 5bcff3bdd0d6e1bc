"""Finds or builds Terraform's program and calls it."""

import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from control.console import Console
from control.errors import ControlError
from control.packages import GO_PACKAGES, Packages
from control.project import Project, make_private_folder
from control.runner import CommandError, Completed, Runner

PROGRAMS = ("terraform", "tofu")
PLATFORM_GROUP = "platform"
# Terraform reads it by itself, so that machines that were asked for stay whoever calls it.
DEMAND_FILE = "machines_in_demand.auto.tfvars.json"

# Built where the host has no Terraform: the Go module proxy is the one source of it that every
# network with package registries reaches. The sum is that of the module's whole content.
OPENTOFU_MODULE = "github.com/opentofu/opentofu"
OPENTOFU_VERSION = "v1.10.10"
OPENTOFU_SUM = "h1:ELFHOkY0x/bHvkgBP4KK3i7Y19CSFuHOyeZOLc0cqWY="

# The first Go that fetches a newer Go by itself where a module asks for one.
_OLDEST_GO = (1, 21)
_QUERY_SECONDS = 60.0
_ENVIRONMENT = {"TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"}


@dataclass(frozen=True)
class Machine:
    """A machine as Terraform's outputs describe it.

    Attributes:
        name: host name.
        type: `container`, `virtual-machine` or `existing`.
        address: IPv4 address.
        user: login with sudo rights.
        groups: what it is for.
        ssh_private_key_file: key for the login.
        ssh_known_hosts_file: its host keys, None where the operator's own files have them.
    """

    name: str
    type: str
    address: str
    user: str
    groups: tuple[str, ...]
    ssh_private_key_file: str
    ssh_known_hosts_file: str | None

    @property
    def is_ours(self) -> bool:
        """Whether this project made it, and so may stop and start it."""
        return self.type != "existing"


class Terraform:
    """Terraform's program with this project's configuration.

    Attributes:
        program: the program that is used.
    """

    def __init__(self, program: Path, project: Project, runner: Runner, console: Console) -> None:
        self.program = program
        self._folder = project.terraform
        self._runner = runner
        self._console = console

    def init(self) -> None:
        """Prepare the folder; downloads nothing."""
        self._call("init", "-input=false")

    def apply(self) -> None:
        """Make, change or remake the machines until they are as configured."""
        self._call("apply", "-auto-approve", "-input=false", "-lock-timeout=60s", echo=True)

    def destroy(self) -> None:
        """Remove all that was made, with its data."""
        self._call("destroy", "-auto-approve", "-input=false", "-lock-timeout=60s", echo=True)

    def machines(self) -> list[Machine]:
        """The machines that exist, by name; empty before the first `apply`."""
        completed = self._runner.run(
            [self.program, f"-chdir={self._folder}", "output", "-json"],
            env=_ENVIRONMENT,
            timeout=_QUERY_SECONDS,
        )
        output: dict[str, Any] = json.loads(completed.stdout)
        if "machines" not in output:
            return []
        return [
            Machine(
                name=name,
                type=values["type"],
                address=values["address"],
                user=values["user"],
                groups=tuple(values["groups"]),
                ssh_private_key_file=values["ssh_private_key_file"],
                ssh_known_hosts_file=values["ssh_known_hosts_file"],
            )
            for name, values in sorted(output["machines"]["value"].items())
        ]

    def demand(self, name: str) -> None:
        """Note that a machine which is made only on demand is to be there from now on."""
        content = {"machines_in_demand": [name]}
        (self._folder / DEMAND_FILE).write_text(json.dumps(content, indent=2) + "\n")

    def forget_demands(self) -> None:
        """Note that none of them is to be there any more."""
        (self._folder / DEMAND_FILE).unlink(missing_ok=True)

    def machine_of(self, group: str) -> Machine | None:
        """The first machine of a group, None where there is none."""
        return next((machine for machine in self.machines() if group in machine.groups), None)

    def platform_machine(self) -> Machine:
        """The machine that carries the platform.

        Raises:
            ControlError: there is none.
        """
        machine = self.machine_of(PLATFORM_GROUP)
        if machine is None:
            raise ControlError(
                f"Nothing is deployed: no machine is in the group {PLATFORM_GROUP}. Run `make up`."
            )
        return machine

    def _call(self, *arguments: str, echo: bool = False) -> Completed:
        colour = [] if self._console.colour else ["-no-color"]
        return self._runner.run(
            [self.program, f"-chdir={self._folder}", *arguments, *colour],
            env=_ENVIRONMENT,
            echo=echo,
        )


def required_version(project: Project) -> tuple[int, ...]:
    """The oldest version that the configuration accepts, from `terraform/versions.tf`.

    Raises:
        ControlError: the file does not say.
    """
    path = project.terraform / "versions.tf"
    match = re.search(r'required_version\s*=\s*">= *([0-9.]+)"', path.read_text())
    if not match:
        raise ControlError(f'{path} does not say required_version = ">= ..."')
    return _numbers(match.group(1))


def find_program(project: Project, runner: Runner) -> Path | None:
    """Find a program that is new enough: on the PATH, or one built here before."""
    oldest = required_version(project)
    search_path = os.pathsep.join([os.environ.get("PATH", os.defpath), str(project.tools)])
    for name in PROGRAMS:
        found = shutil.which(name, path=search_path)
        if found and _version_of(Path(found), runner) >= oldest:
            return Path(found)
    return None


def existing_terraform(project: Project, runner: Runner, console: Console) -> Terraform:
    """Terraform for the verbs that look at a deployment and install nothing.

    Raises:
        ControlError: there is no program, so nothing can be deployed.
    """
    program = find_program(project, runner)
    if program is None:
        raise ControlError("Nothing is deployed: this host has no Terraform yet. Run `make up`.")
    terraform = Terraform(program, project, runner, console)
    terraform.init()
    return terraform


def ensure_program(
    project: Project,
    runner: Runner,
    console: Console,
    packages: Packages,
    backports_of: str | None,
) -> Path:
    """Find Terraform's program, or build OpenTofu where there is none.

    Args:
        project: the repository.
        runner: runs the builder.
        console: tells the operator, as it takes minutes.
        packages: installs Go where it is missing.
        backports_of: release whose backports have a new enough Go, None where its own archive has.

    Raises:
        ControlError: it could not be built; the message says what to install by hand.
    """
    found = find_program(project, runner)
    if found:
        console.say(f"    using {found}")
        return found
    console.say(
        "    no terraform or tofu that is new enough is on the PATH: building OpenTofu "
        f"{OPENTOFU_VERSION}, once, in about 6 minutes"
    )
    try:
        go = _find_go(runner)
        if go is None:
            packages.ensure(GO_PACKAGES, backports_of=backports_of)
            go = _find_go(runner)
        if go is None:
            raise ControlError("There is no Go of at least 1.21.")
        return _build(project, runner, go)
    except ControlError as error:
        oldest = ".".join(map(str, required_version(project)))
        raise ControlError(
            f"OpenTofu could not be built: {error}\nInstall Terraform or OpenTofu {oldest} or "
            "newer, so that `terraform` or `tofu` is on the PATH, then run it again."
        ) from error


def _build(project: Project, runner: Runner, go: Path) -> Path:
    # Without the variable, Go uses a newer Go where the module needs one.
    environment = {"GOTOOLCHAIN": "auto", "GOFLAGS": "-buildvcs=false", "CGO_ENABLED": "0"}
    make_private_folder(project.tools)
    download = runner.run(
        [go, "mod", "download", "-json", f"{OPENTOFU_MODULE}@{OPENTOFU_VERSION}"],
        cwd=project.tools,
        env=environment,
    )
    module = json.loads(download.stdout)
    if module["Sum"] != OPENTOFU_SUM:
        raise ControlError(
            f"{OPENTOFU_MODULE} {OPENTOFU_VERSION} has the sum {module['Sum']}, not {OPENTOFU_SUM}."
        )
    target = project.tools / "tofu"
    unfinished = project.tools / "tofu.unfinished"
    runner.run(
        [
            *(go, "build", "-trimpath", "-o", unfinished),
            *("-ldflags", f"-s -w -X {OPENTOFU_MODULE}/version.dev=no", "./cmd/tofu"),
        ],
        # Built from within the module: `go install` refuses modules that replace another.
        cwd=Path(module["Dir"]),
        env=environment,
    )
    unfinished.rename(target)
    return target


def _find_go(runner: Runner) -> Path | None:
    found = shutil.which("go")
    if not found:
        return None
    match = re.search(r"go(\d+)\.(\d+)", runner.run([found, "version"], check=False).stdout)
    if match and (int(match.group(1)), int(match.group(2))) >= _OLDEST_GO:
        return Path(found)
    return None


def _version_of(program: Path, runner: Runner) -> tuple[int, ...]:
    """A program's version, (0,) where it does not run."""
    try:
        completed = runner.run(
            [program, "version", "-json"], env=_ENVIRONMENT, timeout=_QUERY_SECONDS
        )
        return _numbers(json.loads(completed.stdout)["terraform_version"])
    except (CommandError, ValueError, KeyError):
        return (0,)


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers of a version: `1.10.6-dev` is (1, 10, 6)."""
    return tuple(int(part) for part in version.split("-")[0].split("."))


def tools_path(programs: Sequence[Path]) -> str:
    """A PATH that finds these folders first."""
    return os.pathsep.join([*map(str, programs), os.environ.get("PATH", os.defpath)])
