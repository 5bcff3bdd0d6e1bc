import pytest

from control.cgroups import Cgroup, read_cgroups
from control.errors import ControlError
from control.runner import Completed
from control.terraform import Machine
from control.tests.conftest import FakeRunner

MACHINE = Machine("mlops", "container", "10.9.8.2", "mlops", ("platform",), "/key", None)


def test_reads_every_container(runner: FakeRunner) -> None:
    runner.replies["ssh"] = "nginx 7 10000 10000 536870912 9000000 5000000 12 3 400\n"
    assert read_cgroups(MACHINE, runner) == {
        "nginx": Cgroup(7, 10_000, 10_000, 536_870_912, 9_000_000, 5_000_000, 12, 3, 400)
    }


def test_a_machine_that_cannot_be_asked(runner: FakeRunner) -> None:
    runner.replies["ssh"] = Completed(255, "", "Connection refused")
    with pytest.raises(ControlError, match="limits of mlops cannot be read: Connection refused"):
        read_cgroups(MACHINE, runner)


@pytest.mark.parametrize("line", ["nginx 7 max 10000 1 2 3 4 5 6", "nginx 7 10000"])
def test_a_container_without_a_limit(runner: FakeRunner, line: str) -> None:
    runner.replies["ssh"] = f"{line}\n"
    with pytest.raises(ControlError, match="nginx on mlops has no limit"):
        read_cgroups(MACHINE, runner)
