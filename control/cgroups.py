"""Reads what the kernel allows a machine's containers and what they have used, over ssh."""

from dataclasses import dataclass

from control.errors import ControlError
from control.runner import Runner
from control.status import ask
from control.terraform import Machine

# A line for each running container. Version 1 counts nanoseconds, version 2 microseconds.
_REMOTE_SCRIPT = r"""
set -eu
cd /sys/fs/cgroup
sudo docker ps --quiet --no-trunc \
    | xargs --no-run-if-empty sudo docker inspect --format '{{slice .Name 1}} {{.State.Pid}}' \
    | while read -r name pid; do
    group() {
        sed -n "s/^[0-9]*:\([^:]*,\)*$1\(,[^:]*\)*:\(.*\)/\3/p" "/proc/$pid/cgroup" | head -n 1
    }
    value() { sed -n "s/^$2 //p" "$1"; }
    if [ -e cgroup.controllers ]; then
        cd "/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$pid/cgroup")"
        read -r quota period <cpu.max
        echo "$name $pid $quota $period $(cat memory.max) $(cat memory.current)" \
            "$(value cpu.stat usage_usec)000 $(value cpu.stat nr_periods)" \
            "$(value cpu.stat nr_throttled) $(value cpu.stat throttled_usec)000"
    else
        cpu=cpu$(group cpu) memory=memory$(group memory)
        echo "$name $pid $(cat "$cpu/cpu.cfs_quota_us") $(cat "$cpu/cpu.cfs_period_us")" \
            "$(cat "$memory/memory.limit_in_bytes") $(cat "$memory/memory.usage_in_bytes")" \
            "$(cat "cpuacct$(group cpuacct)/cpuacct.usage") $(value "$cpu/cpu.stat" nr_periods)" \
            "$(value "$cpu/cpu.stat" nr_throttled) $(value "$cpu/cpu.stat" throttled_time)"
    fi
done
"""


@dataclass(frozen=True)
class Cgroup:
    """A container's control group at a moment.

    Attributes:
        pid: its first process, another one after each start.
        quota_us: microseconds of processor time in each period.
        period_us: length of the period in microseconds.
        memory_limit: bytes.
        memory: bytes in use.
        used_ns: nanoseconds of processor time since its start.
        periods: periods in which it wanted to run, since its start.
        throttled_periods: how many of them used up the quota.
        throttled_ns: nanoseconds for which it was held back.
    """

    pid: int
    quota_us: int
    period_us: int
    memory_limit: int
    memory: int
    used_ns: int
    periods: int
    throttled_periods: int
    throttled_ns: int

    @property
    def cpus(self) -> float:
        """How many processors it may use."""
        return self.quota_us / self.period_us


def read_cgroups(machine: Machine, runner: Runner) -> dict[str, Cgroup]:
    """The control groups of a machine's running containers, by container.

    Raises:
        ControlError: the machine does not answer, or a group cannot be read.
    """
    printed = ask(
        machine,
        runner,
        "bash -s",
        f"The limits of {machine.name} cannot be read",
        "`make status` shows the machine and its services.",
        script=_REMOTE_SCRIPT,
    )
    groups = {}
    for line in printed.splitlines():
        name, *numbers = line.split()
        try:
            groups[name] = Cgroup(*map(int, numbers))
        except (TypeError, ValueError) as error:
            raise ControlError(
                f"The control group of {name} on {machine.name} has no limit: {line}"
            ) from error
    return groups
