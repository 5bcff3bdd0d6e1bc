"""Calls Ansible as an operator would in `ansible/`, with the control environment's programs."""

import json
from collections.abc import Mapping
from typing import Any, cast

from control.console import Console
from control.environments import Environment
from control.project import Project
from control.runner import Runner
from control.terraform import Machine, tools_path

_QUERY_SECONDS = 120.0


class Ansible:
    """Ansible with this project's playbooks and inventory."""

    def __init__(
        self, project: Project, runner: Runner, console: Console, environment: Environment
    ) -> None:
        self._project = project
        self._runner = runner
        self._programs = environment.programs
        self._environment = {
            # The inventory calls Terraform, which may be the one that was built here.
            "PATH": tools_path([environment.programs, project.tools]),
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
