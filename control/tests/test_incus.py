import json
import os
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from control import guard, incus
from control.errors import ControlError
from control.incus import Incus
from control.project import Project
from control.runner import Completed
from control.tests.conftest import FakeRunner, Screen

NOT_FOUND = Completed(1, "", "Error: not found")
BRIDGE = {"managed": True, "type": "bridge", "config": {"ipv4.address": "10.9.8.1/24"}}
PROFILE = {
    "devices": {
        "root": {"type": "disk", "path": "/", "pool": "default"},
        "eth0": {"type": "nic", "network": "br9"},
    }
}


def make(runner: FakeRunner, screen: Screen, tmp_path: Path, *daemons: Path) -> Incus:
    return Incus(
        runner,
        screen,
        daemon_paths=daemons,
        daemon_log=tmp_path / "log" / "incusd.log",
        systemd=tmp_path / "systemd",
        data_folder=tmp_path,
        loop_devices=tmp_path / "loop-control",
    )


def initialised(runner: FakeRunner) -> None:
    runner.replies |= {
        "incus query /1.0": "{}",
        "incus query /1.0/networks/br9": json.dumps(BRIDGE),
        "incus query /1.0/storage-pools/default": '{"driver": "zfs"}',
        "incus query /1.0/profiles/default": json.dumps(PROFILE),
    }


@pytest.fixture
def this(runner: FakeRunner, screen: Screen, tmp_path: Path) -> Incus:
    initialised(runner)
    return make(runner, screen, tmp_path)


def changes(runner: FakeRunner) -> list[str]:
    return [command for command in runner.commands if not command.startswith("incus query")]


def test_running_and_initialised_is_left_alone(
    this: Incus, runner: FakeRunner, project: Project
) -> None:
    this.ensure_running()
    this.ensure_initialised(project.network())
    assert changes(runner) == []


def fresh(runner: FakeRunner, *storage_drivers: str) -> None:
    drivers = [{"Name": driver} for driver in storage_drivers]
    runner.replies |= {
        "incus query /1.0": json.dumps({"environment": {"storage_supported_drivers": drivers}}),
        "incus query /1.0/networks/br9": NOT_FOUND,
        "incus query /1.0/storage-pools/default": NOT_FOUND,
        "incus query /1.0/profiles/default": '{"devices": {}}',
    }


def test_fresh_incus_gets_bridge_pool_and_profile(
    this: Incus, runner: FakeRunner, project: Project
) -> None:
    fresh(runner, "dir", "btrfs")
    this.ensure_initialised(project.network())
    # Without loop devices there is no other pool than a folder.
    assert changes(runner) == [
        "incus network create br9 --type=bridge ipv4.address=10.9.8.1/24 ipv4.nat=true "
        "ipv6.address=none",
        "incus storage create default dir",
        "incus profile device add default root disk path=/ pool=default",
        "incus profile device add default eth0 nic name=eth0 network=br9",
    ]


@pytest.mark.parametrize("works", [True, False])
def test_the_pool_is_of_btrfs_where_the_host_can(
    this: Incus,
    runner: FakeRunner,
    project: Project,
    tmp_path: Path,
    works: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fresh(runner, "dir", "btrfs")
    (tmp_path / "loop-control").touch()
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=40 * 2**30 + 1))
    if not works:
        runner.replies["incus storage create default btrfs"] = Completed(1, "", "no loop device")
    this.ensure_initialised(project.network())
    tried = [change for change in changes(runner) if "storage" in change]
    assert tried[0] == "incus storage create default btrfs size=32GiB"
    assert tried[1:] == ([] if works else ["incus storage create default dir"])


@pytest.mark.parametrize("drivers", [["dir"], []])
def test_the_pool_is_a_folder_where_incus_knows_no_btrfs(
    this: Incus, runner: FakeRunner, project: Project, tmp_path: Path, drivers: list[str]
) -> None:
    fresh(runner, *drivers)
    (tmp_path / "loop-control").touch()
    this.ensure_initialised(project.network())
    assert "incus storage create default dir" in changes(runner)


@pytest.mark.parametrize(
    ("path", "found", "message"),
    [
        ("networks/br9", BRIDGE | {"managed": False}, "is not Incus's"),
        ("networks/br9", BRIDGE | {"config": {"ipv4.address": "10.1.1.1/24"}}, r"10\.1\.1\.1/24"),
        (
            "profiles/default",
            {"devices": PROFILE["devices"] | {"eth0": {"network": "lxdbr0"}}},
            "puts eth0 on lxdbr0",
        ),
    ],
)
def test_foreign_things_stay_and_are_named(
    this: Incus,
    runner: FakeRunner,
    project: Project,
    path: str,
    found: dict[str, object],
    message: str,
) -> None:
    runner.replies[f"incus query /1.0/{path}"] = json.dumps(found)
    with pytest.raises(ControlError, match=message):
        this.ensure_initialised(project.network())
    assert changes(runner) == []


def test_systemd_starts_the_unit(this: Incus, runner: FakeRunner, tmp_path: Path) -> None:
    (tmp_path / "systemd").mkdir()
    answers = iter([NOT_FOUND, Completed(0, "{}")])
    runner.replies["incus query /1.0"] = lambda _: next(answers)
    this.ensure_running()
    assert changes(runner)[0] == "systemctl enable -q --now incus.service"


def daemon_script(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_daemon_is_started_detached(runner: FakeRunner, screen: Screen, tmp_path: Path) -> None:
    note = tmp_path / "note"
    daemon = daemon_script(tmp_path / "incusd", f'echo $$ "$@" > {note}; exec sleep 60')
    answers = iter([NOT_FOUND, Completed(0, "{}")])
    runner.replies["incus query /1.0"] = lambda _: next(answers)
    make(runner, screen, tmp_path, daemon).ensure_running()
    process_id, *arguments = note.read_text().split()
    try:
        assert arguments[:2] == ["--group", "incus-admin"]
        # Its own session: Ctrl-C and the end of the terminal do not reach it.
        assert os.getsid(int(process_id)) == int(process_id)
    finally:
        os.kill(int(process_id), signal.SIGTERM)


def test_daemon_that_ends_at_once_is_quoted(
    runner: FakeRunner, screen: Screen, tmp_path: Path
) -> None:
    daemon = daemon_script(tmp_path / "incusd", "echo no database >&2; exit 4")
    runner.replies["incus query /1.0"] = NOT_FOUND
    with pytest.raises(ControlError, match=r"code 4:\nno database"):
        make(runner, screen, tmp_path, daemon).ensure_running()


def test_missing_daemon(runner: FakeRunner, screen: Screen, tmp_path: Path) -> None:
    runner.replies["incus query /1.0"] = NOT_FOUND
    with pytest.raises(ControlError, match="is the package incus-base installed"):
        make(runner, screen, tmp_path, tmp_path / "nowhere").ensure_running()


def test_daemon_that_runs_but_does_not_answer_is_not_started_twice(
    runner: FakeRunner, screen: Screen, tmp_path: Path
) -> None:
    daemon = tmp_path / "incusd"
    daemon.write_bytes(Path("/bin/sleep").resolve().read_bytes())
    daemon.chmod(0o755)
    # `sleep` takes no option here; an argument that begins with a minus sign is the daemon's mark.
    process = subprocess.Popen([daemon, "--", "60"])
    runner.replies["incus query /1.0"] = NOT_FOUND
    runner.replies["incus admin waitready"] = Completed(1)
    try:
        deadline = time.monotonic() + 5
        while incus.running_process(daemon) is None and time.monotonic() < deadline:
            time.sleep(0.02)
        with pytest.raises(ControlError, match="Incus does not answer after"):
            make(runner, screen, tmp_path, daemon).ensure_running()
        assert f"waiting for {daemon} (process {process.pid})" in screen.text
    finally:
        process.kill()
        process.wait()
    assert incus.running_process(daemon) is None


def test_helpers_of_the_daemon_do_not_count(tmp_path: Path) -> None:
    program = tmp_path / "incusd"
    for number, arguments in (("5", b"incusd\0forkproxy\0"), ("x", b"")):
        entry = tmp_path / "proc" / number
        entry.mkdir(parents=True)
        (entry / "exe").symlink_to(program)
        (entry / "cmdline").write_bytes(arguments)
    assert incus.running_process(program, tmp_path / "proc") is None


def test_states_of_machines(this: Incus, runner: FakeRunner) -> None:
    runner.replies["incus query /1.0/instances/mlops"] = '{"status": "Stopped"}'
    runner.replies["incus query /1.0/instances/other"] = NOT_FOUND
    assert this.state_of("mlops") == "Stopped"
    assert this.state_of("other") is None
    this.start("mlops")
    this.stop("mlops")
    assert changes(runner) == ["incus start mlops", "incus stop mlops --timeout=120"]


def test_guard_without_systemd(runner: FakeRunner, project: Project, tmp_path: Path) -> None:
    unit = tmp_path / "guard.service"
    guard.ensure_guard(runner, project.network(), unit=unit, systemd=tmp_path / "none")
    assert runner.commands == ["ip route replace blackhole 10.9.8.0/24 metric 9999"]
    assert not unit.exists()


def test_guard_with_systemd_is_written_once(
    runner: FakeRunner, project: Project, tmp_path: Path
) -> None:
    unit = tmp_path / "guard.service"
    for _ in range(2):
        guard.ensure_guard(runner, project.network(), unit=unit, systemd=tmp_path)
    assert "ip route replace blackhole 10.9.8.0/24 metric 9999\n" in unit.read_text()
    assert runner.commands.count("systemctl daemon-reload") == 1
    assert runner.commands.count("systemctl enable -q guard.service") == 2
