import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from control.ansible import Ansible
from control.errors import ControlError
from control.inference import Inference, Model
from control.laboratory import DeployedLaboratory
from control.loadtest import Load, Locust, LostClientsError, Result
from control.runner import Completed
from control.study import UnusablePointError
from control.study_plan import BUDGET, LIMITED_GENERATOR, SHORT, Point
from control.terraform import Machine
from control.tests.conftest import FakeRunner
from control.tests.test_loadtest import FAILURES, requests

PLATFORM = Machine("mlops", "container", "10.9.8.2", "mlops", ("platform",), "/key", None)
CLIENTS = Machine("loadtest", "container", "10.9.8.3", "mlops", ("loadtest",), "/key", None)
QUARTER = "2500 10000 5368709120"


class FakePlatform:
    """Both machines, as what is asked over ssh shows them; each look finds more used."""

    def __init__(self, runner: FakeRunner, folder: Path) -> None:
        self.looks = 0
        self.used_ns = 0
        # Up to this look, containers use a second between two of them, then a millisecond.
        self.busy_looks = 0
        self.limit = QUARTER
        self.pid = 7
        self.replicas = 2
        self.balancer = True
        self.plays: list[tuple[str, Any]] = []
        self.loads: list[Load] = []
        self.stat = folder / "stat"
        self.slept: list[float] = []
        self.model: Model | None = Model("modelo1", "3")
        runner.replies |= {
            "ssh": " Made Up\n2\n6.1\n16000000\n1\n",
            **{self.command(machine): self.groups(machine) for machine in (PLATFORM, CLIENTS)},
            f"{self.command(CLIENTS, '')}'sudo docker exec locust": json.dumps(
                {"due": 150, "ended": {"200": 150}, "latencies": [[1.5, 150]], "lateness": []}
            ),
        }

    @staticmethod
    def command(machine: Machine, remote: str = "'bash -s'") -> str:
        options = "-T -o BatchMode=yes -o ConnectTimeout=10 -o IdentitiesOnly=yes -i /key"
        return f"ssh {options} mlops@{machine.address} {remote}"

    def groups(self, machine: Machine) -> Callable[[str], Completed]:
        def answer(_: str) -> Completed:
            self.looks += 1
            ticks = self.looks * 100
            self.stat.write_text(f"cpu {ticks} 0 0 {ticks} 0 0 0 0 0 0\n")
            self.used_ns += 10**9 if self.looks <= self.busy_looks else 10**6
            used = f"1000 {self.used_ns} {self.looks} 0 0"
            if machine == CLIENTS:
                shown = "nginx 6 20000 10000 1 1000 0 0 0 0\n"
                return Completed(0, f"locust-worker-1 5 20000 10000 1 {used}\n{shown}")
            lines = [f"redis 3 10000 10000 1 {used}\n"]
            if self.balancer:
                lines.append(f"nginx 4 10000 10000 1 {used}\n")
            for number in range(self.replicas):
                lines.append(f"inference-api-{number + 1} {self.pid} {self.limit} {used}\n")
            return Completed(0, "".join(lines))

        return answer

    def play(self, playbook: str, variables: Any = None) -> None:
        self.plays.append((playbook, variables))

    def variables(self, _: Machine) -> dict[str, Any]:
        return {"inference_cpus": 0.5, "inference_memory": "10g", "inference_cpu_period": 10_000}

    def run(self, load: Load, at_both_ends: Callable[[], None]) -> Result:
        self.loads.append(load)
        at_both_ends()
        at_both_ends()
        return Result(requests(failures=2), FAILURES)

    def production_model(self) -> Model | None:
        return self.model


@pytest.fixture
def platform(runner: FakeRunner, tmp_path: Path) -> FakePlatform:
    return FakePlatform(runner, tmp_path)


@pytest.fixture
def laboratory(platform: FakePlatform, runner: FakeRunner) -> DeployedLaboratory:
    return DeployedLaboratory(
        PLATFORM,
        CLIENTS,
        cast(Inference, platform),
        cast(Locust, platform),
        cast(Ansible, platform),
        runner,
        # A look at a machine takes a quarter of a second.
        clock=lambda: platform.looks / 4,
        sleep=platform.slept.append,
        stat_file=platform.stat,
    )


def point(kind: str, setup: str = BUDGET) -> Point:
    return Point(setup, 2, kind, 50, 1)


def test_tells_where_it_measures(laboratory: DeployedLaboratory, platform: FakePlatform) -> None:
    described = laboratory.describe()
    assert described["processor"] == "Made Up"
    assert described["model"] == "modelo1 version 3"
    assert described["generator_processes"] == 1
    assert described["same_host"]
    platform.model = None
    with pytest.raises(ControlError, match="No model is in production"):
        laboratory.describe()


def test_clients(laboratory: DeployedLaboratory, platform: FakePlatform) -> None:
    laboratory.prepare(point("closed"))
    assert platform.plays == [("playbooks/scale.yml", {"inference_replicas": 2})]
    measured = laboratory.measure(point("closed"), SHORT)
    assert platform.loads == [Load(50, SHORT.closed_seconds)]
    assert measured.table == requests(failures=2)
    assert measured.record["outcome"]["failures"][0]["Occurrences"] == "2"
    containers = measured.record["containers"]
    assert set(containers) == {"nginx", "inference-api-1", "inference-api-2", "locust-worker-1"}
    assert containers["inference-api-1"]["quota_us"] == 2500
    assert containers["inference-api-1"]["processor_seconds"] == 0.002
    assert containers["nginx"]["quota_us"] == 10_000, "that of the machine with the clients"
    assert containers["nginx"]["processor_seconds"] == 0.002
    assert measured.record["host_busy"] == 0.5


def test_a_fixed_rate(
    laboratory: DeployedLaboratory, platform: FakePlatform, runner: FakeRunner
) -> None:
    laboratory.prepare(point("open"))
    measured = laboratory.measure(point("open"), SHORT)
    assert measured.table == "milliseconds at most,answers\n1.5,150\n"
    assert measured.record["outcome"] == {"due": 150, "ended": {"200": 150}, "lateness": []}
    (command,) = [command for command in runner.commands if "open_loop" in command]
    assert "--rate 50 --seconds 3 --warm-up 1 --processes 1 --connections 100" in command
    # The time that counts begins when all connections are there and the warm-up is over.
    ready_file = command.split("--ready-file ")[1].rstrip("'")
    assert any(f"until rm {ready_file} " in command for command in runner.commands)
    # Once more before, until replicas are idle; both looks at both machines are within the three.
    assert platform.slept == [2.0, 2.0, 3 - 2 * 0.5]


def test_replicas_that_are_still_busy_are_waited_for(
    laboratory: DeployedLaboratory, platform: FakePlatform
) -> None:
    platform.busy_looks = 3
    laboratory.prepare(point("closed"))
    assert platform.slept == [2.0, 2.0]
    platform.busy_looks = 1000
    with pytest.raises(ControlError, match="still busy 90 s after"):
        laboratory.prepare(point("closed"))


def test_other_limits_than_planned(laboratory: DeployedLaboratory, platform: FakePlatform) -> None:
    laboratory.prepare(point("closed"))
    for limit in ("5000 10000 5368709120", "25000 100000 5368709120", "2500 10000 1073741824"):
        platform.limit = limit
        with pytest.raises(ControlError, match="The kernel holds inference-api-1 to"):
            laboratory.measure(point("closed"), SHORT)
    platform.limit = QUARTER
    platform.replicas = 3
    with pytest.raises(ControlError, match="3 replicas run instead of 2"):
        laboratory.measure(point("closed"), SHORT)


def test_a_container_that_ended(laboratory: DeployedLaboratory, platform: FakePlatform) -> None:
    laboratory.prepare(point("closed"))
    usual = platform.run

    def kill(load: Load, at_both_ends: Callable[[], None]) -> Result:
        at_both_ends()
        platform.pid = 8
        at_both_ends()
        return usual(load, lambda: None)

    platform.run = kill  # type: ignore[method-assign]
    with pytest.raises(UnusablePointError, match="inference-api-1, inference-api-2 ended"):
        laboratory.measure(point("closed"), SHORT)


@pytest.mark.parametrize("kind", ["closed", "open"])
def test_a_target_that_is_down(
    laboratory: DeployedLaboratory, platform: FakePlatform, runner: FakeRunner, kind: str
) -> None:
    laboratory.prepare(point(kind))

    def fail(load: Load, at_both_ends: Callable[[], None]) -> Result:
        at_both_ends()
        at_both_ends()
        return Result(requests(failures=200), FAILURES)

    platform.run = fail  # type: ignore[method-assign]
    runner.replies[f"{platform.command(CLIENTS, '')}'sudo docker exec locust"] = json.dumps(
        {"due": 150, "ended": {"no answer": 150}, "latencies": [], "lateness": []}
    )
    with pytest.raises(ControlError, match="No request was answered: `make status` tells"):
        laboratory.measure(point(kind), SHORT)
    platform.balancer = False
    with pytest.raises(ControlError, match="nginx does not run: `make up` starts it"):
        laboratory.measure(point(kind), SHORT)


@pytest.mark.parametrize("machine", [PLATFORM, CLIENTS])
def test_a_machine_that_is_gone(
    laboratory: DeployedLaboratory, platform: FakePlatform, runner: FakeRunner, machine: Machine
) -> None:
    def fail(playbook: str, variables: Any = None) -> None:
        raise ControlError("ansible-playbook ended with code 4")

    platform.play = fail  # type: ignore[method-assign]
    with pytest.raises(ControlError, match="ended with code 4"):
        laboratory.prepare(point("closed"))
    runner.replies[platform.command(machine, "true")] = Completed(255, "")
    with pytest.raises(ControlError, match=f"{machine.name} at {machine.address} does not answer"):
        laboratory.prepare(point("closed"))


def test_clients_that_are_lost(laboratory: DeployedLaboratory, platform: FakePlatform) -> None:
    def lose(load: Load, at_both_ends: Callable[[], None]) -> Result:
        raise LostClientsError("Locust has 3 of 5 clients left.")

    platform.run = lose  # type: ignore[method-assign]
    with pytest.raises(UnusablePointError, match="3 of 5 clients left"):
        laboratory.measure(point("closed"), SHORT)


def test_puts_back_what_it_changed(laboratory: DeployedLaboratory, platform: FakePlatform) -> None:
    laboratory.prepare(point("closed", LIMITED_GENERATOR))
    assert [playbook for playbook, _ in platform.plays] == [
        "playbooks/scale.yml",
        "playbooks/limit_generator.yml",
    ]
    laboratory.restore()
    assert platform.plays[2:] == [
        ("playbooks/scale.yml", None),
        ("playbooks/limit_generator.yml", None),
    ]
