"""Measures points of the scaling study on the deployed platform."""

import csv
import io
import json
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from control.ansible import Ansible
from control.cgroups import Cgroup, read_cgroups
from control.errors import ControlError
from control.inference import Inference
from control.loadtest import Load, Locust, LostClientsError
from control.runner import Runner
from control.status import ssh_command
from control.study import Measured, UnusablePointError, planned_seconds
from control.study_plan import CLOSED, Plan, Point, setup_of
from control.terraform import Machine

_REPLICA_PREFIX = "inference-api-"
_BALANCER = "nginx"
_GENERATOR_PREFIX = "locust"
_WORKER_PREFIX = "locust-worker-"
# Has the package of the generator, and nothing to do meanwhile.
_OPEN_LOOP_CONTAINER = "locust"
# In all; nginx takes ten thousand clients, and has fewer requests wait for answers. Fewer are
# enough for a lower rate, as no answer takes longer than two seconds.
_MOST_CONNECTIONS = 9000
_LONGEST_ANSWER_SECONDS = 2
_OPEN_LOOP_GRACE_SECONDS = 60.0
# To make the connections takes up to so long.
_OPEN_LOOP_READY_SECONDS = 120.0
# The first request follows so long after that.
_OPEN_LOOP_START_SECONDS = 1.0
# A replica that uses less of its share than this has nothing to do. It is looked at so often.
_IDLE_SHARE = 0.3
_SETTLE_SECONDS = 2.0
_SETTLE_LOOKS = 45
# The kernel keeps whole microseconds of a period, and whole pages of memory.
_SHARE_TOLERANCE = 0.001
_PAGE_BYTES = 4096
_UNITS = {"k": 2**10, "m": 2**20, "g": 2**30}


class DeployedLaboratory:
    """The platform's machine, and the one that makes the load."""

    def __init__(
        self,
        platform: Machine,
        load: Machine,
        inference: Inference,
        locust: Locust,
        ansible: Ansible,
        runner: Runner,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        stat_file: Path = Path("/proc/stat"),
    ) -> None:
        self._platform = platform
        self._load = load
        self._inference = inference
        self._locust = locust
        self._ansible = ansible
        self._runner = runner
        self._clock = clock
        self._sleep = sleep
        self._stat_file = stat_file
        self._workers = len(_containers(load, runner, _WORKER_PREFIX))
        self._expected: dict[str, Any] = {}
        self._touched_load = False

    def describe(self) -> dict[str, Any]:
        """See `Laboratory`."""
        model = self._inference.production_model()
        if model is None:
            raise ControlError("No model is in production: `make pipeline` trains one.")
        script = (
            "grep -m1 'model name' /proc/cpuinfo | cut -d: -f2; nproc; uname -r; "
            "grep MemTotal /proc/meminfo | tr -dc '0-9\\n'; "
            "test -e /sys/fs/cgroup/cgroup.controllers && echo 2 || echo 1"
        )
        printed = self._runner.run([*ssh_command(self._platform), script], timeout=60).stdout
        processor, cores, kernel, memory, version = printed.strip().splitlines()
        return {
            "processor": processor.strip(),
            "cores": int(cores),
            "memory_bytes": int(memory) * 1024,
            "kernel": kernel,
            "cgroup_version": int(version),
            "same_host": self._platform.is_ours and self._load.is_ours,
            "generator_processes": self._workers,
            "model": f"{model.name} version {model.version}",
        }

    def prepare(self, point: Point) -> None:
        """See `Laboratory`."""
        with self._telling_which_machine_is_gone():
            self._prepare(point)

    def _prepare(self, point: Point) -> None:
        setup = setup_of(point, self._workers)
        self._ansible.play("playbooks/scale.yml", setup.platform_variables)
        if setup.load_variables or self._touched_load:
            self._ansible.play("playbooks/limit_generator.yml", setup.load_variables)
            self._touched_load = bool(setup.load_variables)
        variables = self._ansible.variables(self._platform) | dict(setup.platform_variables)
        self._expected = {
            "quota_share": variables["inference_cpus"] / point.replicas,
            "period_us": variables["inference_cpu_period"],
            "memory": _bytes(variables["inference_memory"]) // point.replicas,
        }
        self._settle()

    @contextmanager
    def _telling_which_machine_is_gone(self) -> Iterator[None]:
        """Say that of a machine that does not answer any more, instead of what failed with it."""
        try:
            yield
        except ControlError as error:
            for machine in (self._platform, self._load):
                reached = self._runner.run([*ssh_command(machine), "true"], check=False)
                if reached.returncode != 0:
                    raise ControlError(
                        f"The machine {machine.name} at {machine.address} does not answer: was it "
                        "stopped, or removed? `make up` and `make study` have it there again."
                    ) from error
            raise

    def _settle(self) -> None:
        """Wait until replicas that were just made have loaded what stands by.

        One with a small share may still be at it when it begins to serve.
        """
        before = self._replicas()
        for _ in range(_SETTLE_LOOKS):
            self._sleep(_SETTLE_SECONDS)
            after = self._replicas()
            if all(
                _used(before[name], group)["processor_seconds"]
                < _IDLE_SHARE * group.cpus * _SETTLE_SECONDS
                for name, group in after.items()
                if name in before
            ):
                return
            before = after
        raise ControlError(
            f"The replicas are still busy {_SETTLE_LOOKS * _SETTLE_SECONDS:.0f} s after they were "
            "made, though nobody should ask them anything: does another load test run?"
        )

    def _replicas(self) -> dict[str, Cgroup]:
        return _containers(self._platform, self._runner, _REPLICA_PREFIX)

    def restore(self) -> None:
        """See `Laboratory`."""
        self._ansible.play("playbooks/scale.yml")
        if self._touched_load:
            self._ansible.play("playbooks/limit_generator.yml")

    def measure(self, point: Point, plan: Plan) -> Measured:
        """See `Laboratory`."""
        with self._telling_which_machine_is_gone():
            return self._measure(point, plan)

    def _measure(self, point: Point, plan: Plan) -> Measured:
        window = _Window(self._platform, self._load, self._runner, self._stat_file, self._clock)
        began = datetime.now(UTC).isoformat(timespec="seconds")
        seconds = planned_seconds(point, plan)
        if point.kind == CLOSED:
            try:
                result = self._locust.run(Load(point.load, int(seconds)), window.look)
            except LostClientsError as error:
                raise UnusablePointError(str(error)) from error
            outcome: dict[str, Any] = {
                "failures": list(csv.DictReader(io.StringIO(result.failures_csv)))
            }
            table = result.requests_csv
            answered = result.counts[-1].requests - result.counts[-1].failures
        else:
            outcome, table = self._send_at_a_rate(point, seconds, plan.warm_up_seconds, window)
            answered = outcome["ended"].get("200", 0)
        window.check(point, self._expected)
        if not answered:
            raise ControlError("No request was answered: `make status` tells what does not run.")
        return Measured({"began": began, **window.record(), "outcome": outcome}, table)

    def _send_at_a_rate(
        self, point: Point, seconds: float, warm_up: float, window: "_Window"
    ) -> tuple[dict[str, Any], str]:
        processes = max(self._workers, 1)
        connections = min(point.load * _LONGEST_ANSWER_SECONDS, _MOST_CONNECTIONS)
        ready_file = f"/tmp/{point.name}"  # noqa: S108 - in the container, and removed
        inside = f"sudo docker exec {_OPEN_LOOP_CONTAINER}"
        send = (
            f"{inside} python -m load_test.open_loop --rate {point.load} "
            f"--seconds {seconds} --warm-up {warm_up} --processes {processes} "
            f"--connections {-(-connections // processes)} --ready-file {ready_file}"
        )
        wait = f"{inside} sh -c 'until rm {ready_file} 2>&-; do sleep 0.1; done'"
        ssh = ssh_command(self._load)
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(
                self._runner.run,
                [*ssh, send],
                timeout=_OPEN_LOOP_READY_SECONDS + seconds + warm_up + _OPEN_LOOP_GRACE_SECONDS,
            )
            try:
                self._runner.run([*ssh, wait], timeout=_OPEN_LOOP_READY_SECONDS)
            except ControlError:
                # What failed in the generator tells more than that it never was ready.
                sending.result()
                raise
            self._sleep(_OPEN_LOOP_START_SECONDS + warm_up)
            # Both looks are to be over before the requests are.
            looking = window.look()
            self._sleep(max(seconds - 2 * looking, 0))
            window.look()
            printed = sending.result().stdout
        outcome: dict[str, Any] = json.loads(printed)
        buckets = outcome.pop("latencies")
        lines = [f"{milliseconds},{answers}\n" for milliseconds, answers in buckets]
        return outcome, "milliseconds at most,answers\n" + "".join(lines)


class _Window:
    """What both machines' containers were and used in the time that counts."""

    def __init__(
        self,
        platform: Machine,
        load: Machine,
        runner: Runner,
        stat_file: Path,
        clock: Callable[[], float],
    ) -> None:
        self._platform = platform
        self._load = load
        self._runner = runner
        self._stat_file = stat_file
        self._clock = clock
        self._looks: list[dict[str, Cgroup]] = []
        self._moments: list[float] = []
        self._processor: list[tuple[int, int]] = []

    def look(self) -> float:
        """Look at all of them; called when the time that counts begins, and when it is over.

        Returns:
            How many seconds that took.
        """
        began = self._clock()
        self._moments.append(began)
        self._processor.append(_processor_times(self._stat_file))
        # The machine that makes the load has an nginx too, which is not the one that is meant.
        self._looks.append(
            _containers(self._platform, self._runner, _REPLICA_PREFIX, _BALANCER)
            | _containers(self._load, self._runner, _GENERATOR_PREFIX)
        )
        return self._clock() - began

    def check(self, point: Point, expected: Mapping[str, Any]) -> None:
        """See that all was as planned, before and after.

        Raises:
            UnusablePointError: a container ended meanwhile.
            ControlError: nginx or a replica does not run, or the kernel has another limit than the
                one that is to be studied.
        """
        before, after = self._looks
        changed = sorted(
            name
            for name in before.keys() | after.keys()
            if name not in before or name not in after or before[name].pid != after[name].pid
        )
        if changed:
            raise UnusablePointError(f"{', '.join(changed)} ended meanwhile.")
        if _BALANCER not in before:
            raise ControlError(f"{_BALANCER} does not run: `make up` starts it.")
        replicas = [name for name in before if name.startswith(_REPLICA_PREFIX)]
        if len(replicas) != point.replicas:
            raise ControlError(f"{len(replicas)} replicas run instead of {point.replicas}.")
        for name in replicas:
            for group in (before[name], after[name]):
                _check_limits(name, group, expected)

    def record(self) -> dict[str, Any]:
        """The conditions, and what was used between both looks."""
        first, last = self._looks
        (busy, total), (busy_after, total_after) = self._processor
        return {
            "window_seconds": round(self._moments[1] - self._moments[0], 3),
            "host_busy": round((busy_after - busy) / max(total_after - total, 1), 4),
            "containers": {name: _used(first[name], last[name]) for name in sorted(last)},
        }


def _containers(machine: Machine, runner: Runner, *prefixes: str) -> dict[str, Cgroup]:
    """The control groups of the containers whose names begin with one of these."""
    groups = read_cgroups(machine, runner)
    return {name: group for name, group in groups.items() if name.startswith(prefixes)}


def _used(before: Cgroup, after: Cgroup) -> dict[str, Any]:
    """A container's limits at both looks, which are the same, and what it used between them."""
    return {
        "quota_us": after.quota_us,
        "period_us": after.period_us,
        "memory_limit": after.memory_limit,
        "memory": after.memory,
        "processor_seconds": (after.used_ns - before.used_ns) / 1e9,
        "periods": after.periods - before.periods,
        "throttled_periods": after.throttled_periods - before.throttled_periods,
        "throttled_seconds": (after.throttled_ns - before.throttled_ns) / 1e9,
    }


def _check_limits(name: str, group: Cgroup, expected: Mapping[str, Any]) -> None:
    if (
        abs(group.cpus - expected["quota_share"]) > _SHARE_TOLERANCE
        or abs(group.memory_limit - expected["memory"]) > _PAGE_BYTES
        or group.period_us != expected["period_us"]
    ):
        raise ControlError(
            f"The kernel holds {name} to {group.cpus} processors in periods of {group.period_us} "
            f"us and {group.memory_limit} bytes; planned were {expected}."
        )


def _processor_times(stat_file: Path) -> tuple[int, int]:
    """How long this host's processors were busy, and in all, in ticks of the kernel's clock."""
    numbers = list(map(int, stat_file.read_text().split("\n", 1)[0].split()[1:9]))
    idle = numbers[3] + numbers[4]
    return sum(numbers) - idle, sum(numbers)


def _bytes(text: str) -> int:
    """Read a size as Ansible's variables have it, such as `10g`."""
    return int(text[:-1]) * _UNITS[text[-1].lower()]
