import json
from pathlib import Path

import pytest

from control.errors import ControlError
from control.incus import Incus
from control.runner import Completed
from control.status import parse, show_status, ssh_command
from control.terraform import Machine
from control.tests.conftest import FakeRunner, Screen

MACHINE = Machine("mlops", "container", "10.9.8.202", "mlops", ("platform",), "/key", "/known")


def description(
    name: str, status: str = "running", health: str | None = "healthy", **more: object
) -> dict[str, object]:
    state: dict[str, object] = {
        "Status": status,
        "ExitCode": more.pop("exit_code", 0),
        "StartedAt": "2026-11-20T08:00:00.123456789Z",
    }
    if health:
        state["Health"] = {"Status": health}
    return {
        "Name": f"/{name}",
        "State": state,
        "RestartCount": 2,
        "HostConfig": {"RestartPolicy": {"Name": more.pop("policy", "unless-stopped")}},
    }


def printed(*descriptions: dict[str, object]) -> str:
    use = {"Name": "nginx", "MemUsage": "8MiB / 512MiB", "CPUPerc": "0.5%"}
    return f"{json.dumps(list(descriptions))}\n=== stats\n{json.dumps(use)}\n"


def nowhere(_: str) -> str:
    """Publish nothing."""
    return ""


@pytest.fixture
def incus(runner: FakeRunner, screen: Screen, tmp_path: Path) -> Incus:
    runner.replies["incus query /1.0/instances/mlops"] = '{"status": "Running"}'
    return Incus(runner, screen, systemd=tmp_path / "none")


def test_description_and_measurements_are_joined() -> None:
    api, nginx = parse(printed(description("nginx"), description("api", "created", None)))
    assert (nginx.name, nginx.memory, nginx.processor) == ("nginx", "8MiB / 512MiB", "0.5%")
    assert (nginx.restarts, nginx.health, nginx.is_well) == (2, "healthy", True)
    assert " d " in nginx.uptime
    assert (api.memory, api.uptime, api.is_well) == ("", "-", False)


@pytest.mark.parametrize(
    ("container", "well"),
    [
        (description("a", health=None), True),
        (description("a", health="unhealthy"), False),
        (description("a", health="starting"), False),
        (description("a", "restarting"), False),
        (description("a", "exited", None, policy="no"), True),
        (description("a", "exited", None, policy="no", exit_code=1), False),
        (description("a", "exited", None), False),
    ],
)
def test_what_is_well(container: dict[str, object], well: bool) -> None:
    (found,) = parse(printed(container))
    assert found.is_well == well


def test_machine_without_containers() -> None:
    assert parse("=== stats\n") == []


def test_one_connection_shows_all(runner: FakeRunner, screen: Screen, incus: Incus) -> None:
    runner.replies["ssh"] = printed(description("nginx"), description("api", health="unhealthy"))
    assert not show_status(
        [MACHINE], incus, runner, screen, lambda name: {"nginx": "http://a:80"}.get(name, "")
    )
    lines = screen.text.splitlines()
    assert lines[0] == "mlops (10.9.8.202): running"
    assert lines[2].split()[:4] == ["api", "running", "!", "unhealthy"]
    assert lines[2].split()[-1] == "-"
    assert lines[3].split()[:3] == ["nginx", "running", "healthy"]
    assert lines[3].split()[-1] == "http://a:80"
    assert len(runner.called("ssh")) == 1
    runner.replies["ssh"] = printed(description("nginx"))
    assert show_status([MACHINE], incus, runner, screen, nowhere)


def test_stopped_machine_is_not_asked(runner: FakeRunner, screen: Screen, incus: Incus) -> None:
    runner.replies["incus query /1.0/instances/mlops"] = '{"status": "Stopped"}'
    assert not show_status([MACHINE], incus, runner, screen, nowhere)
    assert "stopped\n  `make up` starts it" in screen.text
    assert runner.called("ssh") == []


def test_machine_that_refuses(runner: FakeRunner, screen: Screen, incus: Incus) -> None:
    runner.replies["ssh"] = Completed(255, "", "Permission denied (publickey).")
    with pytest.raises(ControlError, match="mlops cannot be asked over ssh: Permission denied"):
        show_status([MACHINE], incus, runner, screen, nowhere)


def test_ssh_checks_the_machines_key() -> None:
    command = ssh_command(MACHINE)
    assert "UserKnownHostsFile=/known" in command
    assert "BatchMode=yes" in command
    assert not any("StrictHostKeyChecking" in part for part in command)
    assert command[-1] == "mlops@10.9.8.202"
