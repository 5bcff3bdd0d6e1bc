import pytest

from control.errors import ControlError
from control.logs import show_log
from control.runner import Completed
from control.terraform import Machine
from control.tests.conftest import FakeRunner

MACHINE = Machine("mlops", "container", "10.9.8.202", "mlops", ("platform",), "/key", "/known")
NAMES = "redis\nairflow-worker-1\nairflow-scheduler\nredis-exporter\n"


def docker(runner: FakeRunner, logs: Completed | None = None) -> None:
    """Let the machine's Docker list the names, and answer questions for logs."""
    runner.replies["ssh"] = lambda command: (
        Completed(0, NAMES) if " ps " in command else logs or Completed(0, "a line")
    )


@pytest.mark.parametrize(
    ("service", "read"),
    [
        # A container of that very name is meant, whatever else begins so.
        ("redis", ["redis"]),
        ("airflow", ["airflow-scheduler", "airflow-worker-1"]),
        ("airflow-worker", ["airflow-worker-1"]),
    ],
)
def test_reads_what_is_meant(runner: FakeRunner, service: str, read: list[str]) -> None:
    docker(runner)
    show_log(MACHINE, runner, service)
    logs = [command for command in runner.called("ssh") if "docker logs" in command]
    assert [command.split()[-2] for command in logs] == read


@pytest.mark.parametrize("service", ["", "nosuch", "air", "redis; reboot"])
def test_unknown_service(runner: FakeRunner, service: str) -> None:
    docker(runner)
    with pytest.raises(ControlError) as told:
        show_log(MACHINE, runner, service)
    assert "airflow-scheduler, airflow-worker-1, redis, redis-exporter." in str(told.value)
    assert len(runner.commands) == 1


def test_machine_that_refuses(runner: FakeRunner) -> None:
    runner.replies["ssh"] = Completed(255, "", "Permission denied (publickey).")
    with pytest.raises(ControlError, match="mlops cannot be asked over ssh: Permission denied"):
        show_log(MACHINE, runner, "redis")


def test_log_that_cannot_be_read(runner: FakeRunner) -> None:
    docker(runner, Completed(1))
    with pytest.raises(ControlError, match=r"log of redis could not be read .*\(code 1\)"):
        show_log(MACHINE, runner, "redis")
