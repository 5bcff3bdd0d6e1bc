"""Prints what a service logged last, asked of the machine's Docker."""

from control.errors import ControlError
from control.runner import Runner
from control.status import ask, ssh_command
from control.terraform import Machine

_LINES = 200
_SECONDS = 60.0


def show_log(machine: Machine, runner: Runner, service: str) -> None:
    """Print the last lines of a service's containers, one after the other.

    Args:
        machine: the machine that carries them.
        runner: runs ssh.
        service: a container's name, or what several names begin with: `airflow`, `inference-api`.

    Raises:
        ControlError: no container has that name, or the machine does not answer.
    """
    names = container_names(machine, runner)
    chosen = [name for name in names if name == service] or [
        name for name in names if service and name.startswith(f"{service}-")
    ]
    if not chosen:
        raise ControlError(
            f"There is no service {service!r} on {machine.name}: "
            f"`make logs SERVICE=name` with one of {', '.join(names)}."
        )
    for name in chosen:
        # Programs log to either stream; as one they stay in the order they came in.
        script = f"echo '== {name}'; sudo docker logs --timestamps --tail {_LINES} {name} 2>&1"
        completed = runner.run(
            [*ssh_command(machine), script],
            timeout=_SECONDS,
            check=False,
            echo=True,
        )
        if completed.returncode != 0:
            raise ControlError(
                f"The log of {name} could not be read on {machine.name} "
                f"(code {completed.returncode})."
            )


def container_names(machine: Machine, runner: Runner) -> list[str]:
    """The names of a machine's containers, those that have ended too.

    Raises:
        ControlError: it does not answer on ssh, or has no Docker.
    """
    printed = ask(
        machine,
        runner,
        "sudo docker ps --all --format '{{.Names}}'",
        f"{machine.name} cannot be asked over ssh",
        "`make status` shows whether it runs.",
    )
    return sorted(printed.split())
