"""The test machine as the tests see it: its containers, its files and the kernel's limits."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from testinfra.host import Host  # type: ignore[import-untyped]


@dataclass(frozen=True)
class Limits:
    """What the kernel's control groups allow a container.

    Attributes:
        cpu_period: length of the scheduler's period in microseconds.
        cpu_quota: microseconds of processor time in each period.
        memory: bytes.
        memory_and_swap: bytes of both together.
        pids: processes and threads.
        cpu_weight: weight against others, on the kernel's own scale: 1024 is usual in version 1,
            and at most 100 in version 2.
    """

    cpu_period: int
    cpu_quota: int
    memory: int
    memory_and_swap: int
    pids: int
    cpu_weight: int


@dataclass(frozen=True)
class Process:
    """How the kernel sees a container's first process.

    Attributes:
        user_id: the user that it runs as.
        effective_capabilities: a bit for each capability that it has.
        bounding_capabilities: a bit for each capability that it or its children could ever get.
        no_new_privileges: whether it can gain none by running another program.
    """

    user_id: int
    effective_capabilities: int
    bounding_capabilities: int
    no_new_privileges: bool


# Prints period, quota, memory, memory with swap, pids and weight. Version 2 counts swap apart.
_READ_LIMITS = r"""
group() {
    sed -n "s/^[0-9]*:\([^:]*,\)*$1\(,[^:]*\)*:\(.*\)/\3/p" /proc/%(pid)d/cgroup | head -n 1
}
cd /sys/fs/cgroup
if [ -e cgroup.controllers ]; then
    cd ".$(sed -n 's/^0:://p' /proc/%(pid)d/cgroup)"
    read -r quota period <cpu.max
    memory=$(cat memory.max)
    echo "$period $quota $memory $((memory + $(cat memory.swap.max)))" \
        "$(cat pids.max) $(cat cpu.weight)"
else
    cpu=cpu$(group cpu) memory=memory$(group memory)
    cat "$cpu/cpu.cfs_period_us" "$cpu/cpu.cfs_quota_us" "$memory/memory.limit_in_bytes" \
        "$memory/memory.memsw.limit_in_bytes" "pids$(group pids)/pids.max" "$cpu/cpu.shares"
fi
"""


@dataclass
class Machine:
    """A test machine.

    Attributes:
        host: testinfra's connection to it, as root.
        variables: the variables that the scenario gives its role.
    """

    host: Host
    variables: dict[str, Any] = field(repr=False)

    def run(self, *command: str) -> str:
        """Run a program on the machine and return what it prints.

        Raises:
            AssertionError: it failed; the message has its errors.
        """
        result = self.host.run(shlex.join(command))
        assert result.rc == 0, f"{shlex.join(command)}\n{result.stdout}\n{result.stderr}"
        return str(result.stdout)

    def shell(self, script: str) -> str:
        """Run a script of the shell on the machine and return what it prints.

        Raises:
            AssertionError: it failed; the message has its errors.
        """
        return self.run("bash", "-c", script)

    def wait_for(self, command: str, seconds: int = 60) -> None:
        """Repeat a command of the shell on the machine until it succeeds.

        Raises:
            AssertionError: it has not after so many seconds.
        """
        self.run("timeout", str(seconds), "sh", "-c", f"until {command}; do sleep 0.2; done")

    @cached_property
    def containers(self) -> dict[str, dict[str, Any]]:
        """Docker's description of every container, by name, at the first look."""
        return self.look_again()

    def look_again(self) -> dict[str, dict[str, Any]]:
        """Docker's description of every container, by name, as of now."""
        # A machine may have no Docker yet.
        printed = self.shell("docker ps --all --quiet | xargs --no-run-if-empty docker inspect")
        described = json.loads(printed or "[]")
        return {entry["Name"].lstrip("/"): entry for entry in described}

    @property
    def services(self) -> dict[str, dict[str, Any]]:
        """The containers that run until they are told to stop."""
        return {
            name: entry
            for name, entry in self.containers.items()
            if entry["HostConfig"]["RestartPolicy"]["Name"] == "always"
        }

    def execute(self, container: str, *command: str) -> str:
        """Run a program in a container and return what it prints.

        Raises:
            AssertionError: it failed; the message has its errors.
        """
        return self.run("docker", "exec", container, *command)

    def run_image(self, image: str, *command: str, options: tuple[str, ...] = ()) -> str:
        """Run a program in a container of its own, without a network, and return what it prints.

        On a slow machine Docker can lose what a short program prints, with nothing said but
        "reading from a closed fifo" in its journal. So the program writes into a file.

        Args:
            image: its reference or identifier; it needs a shell.
            command: the program and its arguments.
            options: more of Docker's options.

        Raises:
            AssertionError: it failed; the message has its errors.
        """
        program = shlex.join(["sh", "-c", '"$@" >/run/answer', "sh", *command])
        return self.shell(
            'file=$(mktemp); trap \'rm "$file"\' EXIT; chmod 666 "$file"; '
            'docker run --rm --network none --volume "$file:/run/answer" '
            f'{shlex.join([*options, image])} {program} && cat "$file"'
        )

    def address(self, container: str) -> str:
        """The first address of a container."""
        networks = self.containers[container]["NetworkSettings"]["Networks"]
        return str(next(network["IPAddress"] for network in networks.values()))

    def http(self, url: str, *options: str) -> tuple[int, str]:
        """Send a request from the machine.

        Args:
            url: the address.
            options: further options of curl.

        Returns:
            The status and the body.
        """
        program = ("curl", "--silent", "--max-time", "30", "--write-out", "\\n%{http_code}")
        result = self.host.run(shlex.join([*program, *options, url]))
        body, _, status = result.stdout.rpartition("\n")
        return int(status), body

    def get_json(self, url: str, *options: str) -> Any:
        """Send a request from the machine and read the JSON that comes back.

        Raises:
            AssertionError: the status is not 200.
        """
        status, body = self.http(url, *options)
        assert status == 200, f"{url}: {status} {body}"
        return json.loads(body)

    def limits(self, container: str) -> Limits:
        """Read a container's limits from the kernel's cgroup files, version 1 or 2."""
        printed = self.shell(_READ_LIMITS % {"pid": self._process_id(container)})
        return Limits(*map(int, printed.split()))

    def process(self, container: str) -> Process:
        """Read the state of a container's first process from the kernel."""
        status = dict(
            line.split(":\t", 1)
            for line in self.run("cat", f"/proc/{self._process_id(container)}/status").splitlines()
        )
        return Process(
            user_id=int(status["Uid"].split()[0]),
            effective_capabilities=int(status["CapEff"], 16),
            bounding_capabilities=int(status["CapBnd"], 16),
            no_new_privileges=status["NoNewPrivs"].strip() == "1",
        )

    def program_id(self, container: str) -> int:
        """The process of a container's program, on the machine: its init's first child."""
        init = self._process_id(container)
        return int(self.run("cat", f"/proc/{init}/task/{init}/children").split()[0])

    def has_huge_pages(self, container: str) -> bool:
        """Whether a container's program has memory in huge pages, as the kernel counts it."""
        counted = self.run("cat", f"/proc/{self.program_id(container)}/smaps_rollup")
        (kilobytes,) = re.findall(r"^AnonHugePages: +(\d+) kB$", counted, re.MULTILINE)
        return int(kilobytes) > 0

    def may_have_huge_pages(self, container: str) -> bool:
        """Whether the kernel would give a container's program huge pages.

        For one that is small or has made another process. Whether that has some at a moment is
        chance: they need to fit into its memory as a whole, and those that both write to are lost.
        """
        if self._huge_pages_are_for != "madvise":
            return self._huge_pages_are_for == "always"
        maps = f"/proc/{self.program_id(container)}/smaps"
        return bool(self.host.run(f"grep --quiet '^VmFlags:.* hg' {maps}").rc == 0)

    @property
    def lets_have_huge_pages(self) -> bool:
        """Whether processes may ask the kernel for them."""
        return self._huge_pages_are_for != "never"

    @property
    def _huge_pages_are_for(self) -> str:
        setting = self.run("cat", "/sys/kernel/mm/transparent_hugepage/enabled")
        return setting.partition("[")[2].partition("]")[0]

    def mode(self, path: str) -> tuple[str, str, str]:
        """A file's rights, such as `0700`, and the numbers of its user and group."""
        mode, user, group = self.run("stat", "--format", "%a %u %g", path).split()
        return mode.zfill(4), user, group

    def _process_id(self, container: str) -> int:
        return int(self.run("docker", "inspect", "--format", "{{.State.Pid}}", container))
