"""Lists, promotes and rolls back registered models, with the pipeline's own program.

It runs in a worker's container, which has the pipeline, its libraries and the logins of Postgres
and MLflow; no password leaves the machine.
"""

import getpass
import os
import shlex

from control.errors import ControlError
from control.runner import Runner
from control.status import ssh_command
from control.terraform import Machine

_WORKER = "airflow-worker-1"
_DAGS_FOLDER = "/opt/airflow/dags"
_SECONDS = 600.0
# The program's own exit statuses; others are of ssh, Docker or the interpreter.
_DONE, _REFUSED = 0, 1


class Models:
    """The registered models of a deployed platform."""

    def __init__(self, machine: Machine, runner: Runner) -> None:
        self._machine = machine
        self._runner = runner

    def show(self) -> bool:
        """Print the versions and which of them is in production.

        Raises:
            ControlError: the program could not be run.
        """
        return self._run("models")

    def promote(self, version: int) -> bool:
        """Put a version through the gate and into production; tell whether it took it.

        Raises:
            ControlError: the program could not be run.
        """
        return self._run("promote", str(version))

    def roll_back(self) -> bool:
        """Put the version before into production again; tell whether that was done.

        Raises:
            ControlError: the program could not be run.
        """
        return self._run("rollback")

    def _run(self, *arguments: str) -> bool:
        program = shlex.join(
            [
                *("sudo", "docker", "exec", "--workdir", _DAGS_FOLDER, _WORKER, "with-secrets"),
                *("python", "-m", "covertype.production", "--by", operator(), *arguments),
            ]
        )
        completed = self._runner.run(
            [*ssh_command(self._machine), program], timeout=_SECONDS, check=False, echo=True
        )
        if completed.returncode not in (_DONE, _REFUSED):
            raise ControlError(
                f"The pipeline's program could not be run in {_WORKER} on {self._machine.name} "
                f"(code {completed.returncode}); `make status` shows whether it is healthy."
            )
        return completed.returncode == _DONE


def operator() -> str:
    """The name of who is at the terminal, also behind sudo."""
    return os.environ.get("SUDO_USER") or getpass.getuser()


def parse_version(text: str) -> int:
    """Read a version's number as the operator typed it.

    Raises:
        ControlError: it is no whole number above 0.
    """
    if text.isascii() and text.isdecimal() and int(text) > 0:
        return int(text)
    raise ControlError(
        f"VERSION must be the number of a version and is {text!r}: `make models` lists them, "
        "`make promote VERSION=3` promotes one."
    )
