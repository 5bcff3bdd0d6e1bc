"""The driver's decisions, with an Incus that is only a dictionary of answers."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "driver" / "incus_machine.py"
spec = importlib.util.spec_from_file_location("incus_machine", SOURCE)
assert spec is not None
assert spec.loader is not None
driver = importlib.util.module_from_spec(spec)
spec.loader.exec_module(driver)

MACHINE = {
    "name": "mlops",
    "type": "container",
    "user": "mlops",
    "bridge": "incusbr0",
    "address": "10.43.101.202",
    "image": {"alias": "image", "definition_directory": None},
    "cpus": None,
    "memory": "20GiB",
    "disk": None,
    "identity": "token",
}

Incus = Callable[..., list[tuple[str, ...]]]


@pytest.fixture
def incus(monkeypatch: pytest.MonkeyPatch) -> Incus:
    """Answer the driver's commands from a list of instances; gives the commands it ran."""

    def answer(instances: list[dict[str, Any]], templates: str = "") -> list[tuple[str, ...]]:
        ran: list[tuple[str, ...]] = []

        def run(*command: str, stdin: str | None = None) -> str:
            ran.append(command)
            if command[:2] == ("incus", "list"):
                return json.dumps(instances)
            if command[:4] == ("incus", "config", "template", "list"):
                return templates
            return ""

        monkeypatch.setattr(driver, "run", run)
        monkeypatch.setattr(driver, "wait_until_ready", lambda values: None)
        return ran

    return answer


def instance(**config: str) -> dict[str, Any]:
    devices = {"root": {}, "eth0": {"ipv4.address": MACHINE["address"]}}
    return {"name": "mlops", "config": config, "devices": devices, "expanded_devices": devices}


def values(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "id_ed25519").touch()
    (tmp_path / "id_ed25519.pub").write_text("ssh-ed25519 AAAA mlops\n")
    return MACHINE | {"ssh_directory": str(tmp_path)}


def test_create_notes_the_identity_last(incus: Incus, tmp_path: Path) -> None:
    ran = incus([])
    driver.machine_create(values(tmp_path))
    verbs = [command[1:3] for command in ran if command[0] == "incus"]
    assert verbs[-3:] == [("start", "mlops"), ("config", "template"), ("config", "template")]
    (init,) = (command for command in ran if command[:2] == ("incus", "init"))
    assert "eth0,ipv4.address=10.43.101.202" in init
    assert "limits.memory=20GiB" in init


@pytest.mark.parametrize("there", [True, False])
def test_create_builds_an_image_that_is_gone(
    incus: Incus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    incus([])
    built: list[str] = []
    monkeypatch.setattr(driver, "image_exists", lambda alias: there)
    monkeypatch.setattr(driver, "build_image", lambda directory, alias: built.append(alias))
    image = {"alias": "image", "definition_directory": str(tmp_path)}
    driver.machine_create(values(tmp_path) | {"image": image})
    assert built == ([] if there else ["image"])


def test_create_refuses_a_machine_that_is_not_in_the_state(incus: Incus, tmp_path: Path) -> None:
    incus([instance(**{"user.mlops.made-by": "terraform"})], templates="identity.tpl")
    with pytest.raises(driver.DriverError, match="incus delete --force mlops"):
        driver.machine_create(values(tmp_path))


def test_create_refuses_somebody_elses_instance(incus: Incus, tmp_path: Path) -> None:
    ran = incus([instance()])
    with pytest.raises(driver.DriverError):
        driver.machine_create(values(tmp_path))
    assert not any("delete" in command for command in ran)


def test_create_begins_anew_after_an_interrupted_run(incus: Incus, tmp_path: Path) -> None:
    ran = incus([instance(**{"user.mlops.made-by": "terraform"})])
    driver.machine_create(values(tmp_path))
    assert ("incus", "delete", "--force", "mlops") in ran


def test_ready_is_a_machine_with_its_address_and_a_host_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def state(*addresses: str) -> dict[str, Any]:
        inet = [{"family": "inet", "scope": "global", "address": each} for each in addresses]
        link = {"family": "inet6", "scope": "link", "address": "fe80::1"}
        return {"network": {"eth0": {"addresses": [*inet, link]}}}

    keys = iter(["", *3 * ["ssh-ed25519 AAAA root@mlops\n"]])
    states = iter([None, state("172.17.0.1"), state("172.17.0.1", "10.43.101.202")])
    boots = iter([False])
    slept: list[float] = []

    def run(*command: str, stdin: str | None = None) -> str:
        if command[:4] == ("incus", "exec", "mlops", "--") and not next(boots, True):
            raise driver.DriverError("it is not running")
        if command[1:3] == ("file", "pull"):
            return next(keys)
        if command[:2] == ("incus", "list"):
            return json.dumps([instance() | {"state": next(states)}])
        return ""

    monkeypatch.setattr(driver, "run", run)
    monkeypatch.setattr(driver.time, "sleep", slept.append)
    driver.wait_until_ready(MACHINE | {"ssh_directory": str(tmp_path)})
    assert (tmp_path / "known_hosts_mlops").read_text() == "10.43.101.202 ssh-ed25519 AAAA\n"
    # Not booted, without a key, without a state, with another interface's address alone.
    assert len(slept) == 4


def test_a_machine_that_does_not_come_up_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*command: str, stdin: str | None = None) -> str:
        raise driver.DriverError("it is not running")

    clock = iter(range(0, 1000, 100))
    monkeypatch.setattr(driver, "run", run)
    monkeypatch.setattr(driver.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(driver.time, "monotonic", lambda: next(clock))
    with pytest.raises(driver.DriverError, match=r"not ready .* it is not running.*journalctl"):
        driver.wait_until_ready(MACHINE | {"ssh_directory": str(tmp_path)})


def test_configure_changes_only_what_differs(incus: Incus, tmp_path: Path) -> None:
    ran = incus([instance(**{"limits.memory": "20GiB"})])
    driver.machine_configure(values(tmp_path))
    assert [command[1] for command in ran] == ["list"]
    ran = incus([instance(**{"limits.memory": "10GiB"})])
    driver.machine_configure(values(tmp_path))
    assert ("incus", "config", "set", "mlops", "limits.memory=20GiB") in ran
    assert not any(command[1] == "restart" for command in ran)


def test_a_changed_address_restarts_the_machine(incus: Incus, tmp_path: Path) -> None:
    ran = incus([instance(**{"limits.memory": "20GiB"})])
    driver.machine_configure(values(tmp_path) | {"address": "10.43.101.203"})
    assert ("incus", "restart", "mlops") in ran


def test_delete_leaves_somebody_elses_instance(incus: Incus, tmp_path: Path) -> None:
    ran = incus([instance()])
    with pytest.raises(driver.DriverError, match="was not made by this project"):
        driver.machine_delete(values(tmp_path))
    assert not any("delete" in command for command in ran)


def test_delete_of_what_is_gone_is_fine(incus: Incus, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts_mlops"
    known.touch()
    incus([])
    driver.machine_delete(values(tmp_path))
    assert not known.exists()


def test_sources_come_from_the_hosts_own(monkeypatch: pytest.MonkeyPatch) -> None:
    listing = (
        "http://mirror/debian|bookworm-backports|Debian Backports|\n"
        "http://mirror/debian|bookworm|Debian|\nhttp://mirror/security|bookworm|Debian-Security|\n"
    )
    monkeypatch.setattr(driver, "run", lambda *command, stdin=None: listing)
    assert driver.debian_sources("trixie") == [
        "deb http://mirror/debian trixie main",
        "deb http://mirror/debian trixie-updates main",
        "deb http://mirror/security trixie-security main",
    ]
    monkeypatch.setattr(
        driver, "run", lambda *command, stdin=None: "http://m/ubuntu|noble|Ubuntu|\n"
    )
    assert driver.debian_sources("trixie") == []
