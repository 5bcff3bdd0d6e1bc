"""Calls Ansible as an operator would in `ansible/`, with the control environment's programs."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from control.console import Console
from control.environments import Environment
from control.project import Project
from control.runner import Runner
from control.terraform import Machine, tools_path

# Those whose modules and plugins the roles use. Their package brings fifteen times as many, and for
# every task with a module of any of them Mitogen would look at all.
COLLECTIONS = (
    "amazon.aws",
    "ansible.posix",
    "community.crypto",
    "community.docker",
    "community.general",
    "community.postgresql",
)
_QUERY_SECONDS = 120.0


def ansible_environment(project: Project, environment: Environment) -> dict[str, str]:
    """Variables for programs that run Ansible, which then finds its tools and wastes no time.

    Ansible itself starts a Python for every task on the machine, and most of a deployment's
    processor time goes there; Mitogen keeps one, which forks. Without it, and with all collections,
    playbooks do the same.

    Args:
        project: where the tools are.
        environment: where Ansible and Mitogen are.
    """
    return {
        # The inventory calls Terraform, which may be the one that was built here.
        "PATH": tools_path([environment.programs, project.tools]),
        "ANSIBLE_STRATEGY": "mitogen_linear",
        "ANSIBLE_STRATEGY_PLUGINS": str(environment.packages / "ansible_mitogen/plugins/strategy"),
        # Ansible calls every strategy deprecated that is not its own.
        "ANSIBLE_DEPRECATION_WARNINGS": "false",
        "ANSIBLE_COLLECTIONS_PATH": str(_chosen_collections(environment)),
        "ANSIBLE_COLLECTIONS_SCAN_SYS_PATH": "false",
    }


def _chosen_collections(environment: Environment) -> Path:
    """A folder that has links to no other collections than `COLLECTIONS`."""
    folder = environment.folder / "collections"
    for name in COLLECTIONS:
        place = Path("ansible_collections", *name.split("."))
        link = folder / place
        link.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            link.symlink_to(environment.packages / place)
    return folder


class Ansible:
    """Ansible with this project's playbooks and inventory."""

    def __init__(
        self, project: Project, runner: Runner, console: Console, environment: Environment
    ) -> None:
        self._project = project
        self._runner = runner
        self._programs = environment.programs
        self._environment = {
            **ansible_environment(project, environment),
            "ANSIBLE_FORCE_COLOR": str(console.colour),
        }

    def play(self, playbook: str, variables: Mapping[str, Any] | None = None) -> None:
        """Run a playbook and show what it does.

        Args:
            playbook: its path in `ansible/`.
            variables: what takes precedence over the group variables in this run.

        Raises:
            CommandError: a task failed.
        """
        self._runner.run(
            [
                *(self._programs / "ansible-playbook", playbook),
                *(("--extra-vars", json.dumps(variables)) if variables else ()),
            ],
            cwd=self._project.ansible,
            env=self._environment,
            echo=True,
        )

    def variables(self, machine: Machine) -> dict[str, Any]:
        """The variables that the inventory and `group_vars` give a machine, templates unfilled."""
        completed = self._runner.run(
            [self._programs / "ansible-inventory", "--host", machine.name],
            cwd=self._project.ansible,
            env=self._environment,
            timeout=_QUERY_SECONDS,
        )
        return cast(dict[str, Any], json.loads(completed.stdout))
