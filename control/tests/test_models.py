import pytest

from control import models
from control.errors import ControlError
from control.models import Models, operator, parse_version
from control.runner import Completed
from control.terraform import Machine
from control.tests.conftest import FakeRunner

PROGRAM = (
    "sudo docker exec --workdir /opt/airflow/dags airflow-worker-1 with-secrets "
    "python -m covertype.production --by ana"
)


@pytest.fixture
def these(runner: FakeRunner, monkeypatch: pytest.MonkeyPatch) -> Models:
    monkeypatch.setattr(models, "operator", lambda: "ana")
    machine = Machine("mlops", "container", "10.9.8.202", "mlops", ("platform",), "/key", None)
    return Models(machine, runner)


def test_the_program_runs_in_a_worker_with_its_secrets(these: Models, runner: FakeRunner) -> None:
    assert these.show()
    assert these.promote(7)
    assert these.roll_back()
    for called, arguments in zip(
        runner.called("ssh"), ("models", "promote 7", "rollback"), strict=True
    ):
        assert called.endswith(f" mlops@10.9.8.202 '{PROGRAM} {arguments}'")


def test_a_refusal_is_told_from_a_program_that_cannot_be_run(
    these: Models, runner: FakeRunner
) -> None:
    runner.replies["ssh"] = Completed(1)
    assert not these.promote(7)
    runner.replies["ssh"] = Completed(255)  # as ssh ends itself
    with pytest.raises(ControlError, match=r"airflow-worker-1 on mlops \(code 255\)"):
        these.promote(7)


@pytest.mark.parametrize("text", ["", "0", "-1", "two", "1.0", "²"])
def test_a_version_is_a_number(text: str) -> None:
    assert parse_version("12") == 12
    with pytest.raises(ControlError, match="make promote VERSION=3"):
        parse_version(text)


def test_the_operator_behind_sudo_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "ana")
    assert operator() == "ana"
    monkeypatch.delenv("SUDO_USER")
    monkeypatch.setenv("LOGNAME", "luis")
    assert operator() == "luis"
