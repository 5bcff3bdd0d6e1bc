"""Shows how the services are, asked of each machine's Docker in one connection."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from control.console import Console, table
from control.errors import ControlError
from control.incus import Incus
from control.runner import Runner
from control.terraform import Machine

_CONNECT_SECONDS = 10
_TOTAL_SECONDS = 60.0
_MARK = "=== stats"
# `docker stats` without names covers the running containers.
_REMOTE_SCRIPT = f"""
set -eu
names=$(sudo docker ps --all --quiet)
[ -z "$names" ] || sudo docker inspect $names
echo "{_MARK}"
sudo docker stats --no-stream --no-trunc --format '{{{{json .}}}}'
"""


@dataclass(frozen=True)
class ContainerStatus:
    """How a container is.

    Attributes:
        name: the container.
        state: Docker's word: `running`, `exited` ...
        exit_code: of its last end.
        health: `healthy`, `unhealthy`, `starting`, or "" without a health check.
        started: when it was started last.
        restarts: how often Docker has started it again by itself.
        memory: use and limit, such as `230MiB / 1GiB`, "" while it does not run.
        processor: share of one core, such as `1.2%`, "" while it does not run.
        stays_up: whether it is meant to run on; a one-shot task is not.
    """

    name: str
    state: str
    exit_code: int
    health: str
    started: datetime | None
    restarts: int
    memory: str
    processor: str
    stays_up: bool

    @property
    def is_well(self) -> bool:
        """Whether it is as it should be."""
        if self.state == "exited" and not self.stays_up:
            return self.exit_code == 0
        return self.state == "running" and self.health in ("", "healthy")

    @property
    def uptime(self) -> str:
        """How long it has run."""
        if self.state != "running" or self.started is None:
            return "-"
        minutes = int((datetime.now(UTC) - self.started).total_seconds()) // 60
        days, minutes = divmod(minutes, 24 * 60)
        hours, minutes = divmod(minutes, 60)
        return f"{days} d {hours} h" if days else f"{hours} h {minutes:02d} min"


def show_status(
    machines: Iterable[Machine],
    incus: Incus,
    runner: Runner,
    console: Console,
    address_of: Callable[[str], str],
) -> bool:
    """Print a table of each machine's containers; tell whether all is well.

    Args:
        machines: the machines to ask.
        incus: knows which of them run.
        runner: runs ssh.
        console: gets the tables.
        address_of: where users find what runs in a container, "" where they do not.

    Raises:
        ControlError: a machine cannot be asked.
    """
    all_well = True
    for machine in machines:
        state = incus.state_of(machine.name) if machine.is_ours else "Running"
        console.say(f"{machine.name} ({machine.address}): {(state or 'not there').lower()}")
        if state != "Running":
            console.say("  `make up` starts it.")
            all_well = False
            continue
        containers = container_statuses(machine, runner)
        for line in table(
            ["Service", "State", "Health", "Up", "Memory / limit", "CPU", "Restarts", "Address"],
            [[*_row(container), address_of(container.name) or "-"] for container in containers],
        ):
            console.say(f"  {line}")
        all_well = all_well and all(container.is_well for container in containers)
    return all_well


def container_statuses(machine: Machine, runner: Runner) -> list[ContainerStatus]:
    """Ask a machine for its containers, by name.

    Raises:
        ControlError: it does not answer on ssh, or has no Docker.
    """
    printed = ask(
        machine,
        runner,
        "sh -s",
        f"{machine.name} cannot be asked over ssh",
        "If it has only just started, try again; `make up` mends the rest.",
        script=_REMOTE_SCRIPT,
    )
    return parse(printed)


def ask(
    machine: Machine,
    runner: Runner,
    command: str,
    problem: str,
    advice: str,
    *,
    script: str | None = None,
) -> str:
    """Run a command on a machine and give what it prints.

    Args:
        machine: the machine.
        runner: runs ssh.
        command: for the machine's shell.
        problem: what to say if it fails, before what ssh or the command said.
        advice: what to do then.
        script: given to the command as its input.

    Raises:
        ControlError: it failed.
    """
    completed = runner.run(
        [*ssh_command(machine), command], input_text=script, timeout=_TOTAL_SECONDS, check=False
    )
    if completed.returncode != 0:
        raise ControlError(f"{problem}: {completed.stderr.strip()}\n{advice}")
    return completed.stdout


def ssh_command(machine: Machine) -> list[str]:
    """The ssh command for a machine, up to the remote command."""
    known_hosts = machine.ssh_known_hosts_file
    return [
        *("ssh", "-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={_CONNECT_SECONDS}"),
        *(["-o", f"UserKnownHostsFile={known_hosts}"] if known_hosts else []),
        *("-o", "IdentitiesOnly=yes", "-i", machine.ssh_private_key_file),
        f"{machine.user}@{machine.address}",
    ]


def parse(output: str) -> list[ContainerStatus]:
    """Read what the remote script prints: Docker's descriptions, a mark, Docker's measurements."""
    described, _, measured = output.partition(_MARK)
    use = {line["Name"]: line for line in map(json.loads, measured.split("\n")[1:-1])}
    containers = [
        _container(description, use.get(description["Name"].lstrip("/"), {}))
        for description in json.loads(described or "[]")
    ]
    return sorted(containers, key=lambda container: container.name)


def _container(description: dict[str, Any], use: dict[str, str]) -> ContainerStatus:
    state = description["State"]
    return ContainerStatus(
        name=description["Name"].lstrip("/"),
        state=state["Status"],
        exit_code=state["ExitCode"],
        health=state.get("Health", {}).get("Status", ""),
        started=_moment(state["StartedAt"]),
        restarts=description["RestartCount"],
        memory=use.get("MemUsage", ""),
        processor=use.get("CPUPerc", ""),
        stays_up=description["HostConfig"]["RestartPolicy"]["Name"] not in ("", "no"),
    )


def _moment(text: str) -> datetime | None:
    """Read Docker's time, which has nanoseconds; the year 1 stands for never."""
    if text.startswith("0001-"):
        return None
    return datetime.fromisoformat(f"{text[:19]}+00:00")


def _row(container: ContainerStatus) -> list[str]:
    state = container.state
    if state == "exited":
        state = f"exited ({container.exit_code})"
    return [
        container.name,
        state if container.is_well else f"{state} !",
        container.health or "-",
        container.uptime,
        container.memory or "-",
        container.processor or "-",
        str(container.restarts),
    ]
