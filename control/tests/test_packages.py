from pathlib import Path

import pytest

from control.errors import ControlError
from control.packages import Packages, backports_release
from control.runner import Completed
from control.tests.conftest import FakeRunner, Screen

TARGETS = """\
http://mirror.example/debian bookworm main
http://mirror.example/debian bookworm-updates main
http://mirror.example/security bookworm-security main
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "backports.sources"


@pytest.fixture
def packages(runner: FakeRunner, screen: Screen, source: Path) -> Packages:
    runner.replies["dpkg-query"] = "attr installed\n"
    runner.replies["apt-get indextargets"] = TARGETS
    return Packages(runner, screen, source)


def test_nothing_is_done_where_nothing_is_missing(packages: Packages, runner: FakeRunner) -> None:
    packages.ensure(["attr"])
    assert len(runner.commands) == 1


def test_only_missing_ones_are_installed(packages: Packages, runner: FakeRunner) -> None:
    packages.ensure(["attr", "acl"])
    (install,) = runner.called("apt-get -q -y -o DPkg::Lock::Timeout=300 install")
    assert install.endswith("install --no-install-recommends acl")
    assert runner.environments[-1]["DEBIAN_FRONTEND"] == "noninteractive"


def test_half_installed_counts_as_missing(packages: Packages, runner: FakeRunner) -> None:
    runner.replies["dpkg-query"] = Completed(1, "attr half-configured\nacl installed\n")
    runner.replies["dpkg --audit"] = "attr is only half configured"
    assert packages.missing(["attr", "acl", "rsync"]) == ["attr", "rsync"]
    packages.ensure(["attr"])
    assert runner.commands.index("dpkg --configure -a") < len(runner.commands) - 1


def test_lists_are_fetched_once(packages: Packages, runner: FakeRunner) -> None:
    packages.ensure(["acl"])
    packages.ensure(["rsync"])
    assert sum(command.endswith(" update") for command in runner.commands) == 1


def test_backports_come_from_the_hosts_own_mirror(
    packages: Packages, runner: FakeRunner, source: Path
) -> None:
    packages.ensure(["incus"], backports_of="bookworm")
    lines = source.read_text().splitlines()
    assert "URIs: http://mirror.example/debian" in lines
    assert "Suites: bookworm-backports" in lines
    assert runner.commands[-1].endswith("-t bookworm-backports incus")
    # The lists are fetched again once the source is there.
    assert sum(command.endswith(" update") for command in runner.commands) == 2


def test_backports_that_are_there_stay(
    packages: Packages, runner: FakeRunner, source: Path
) -> None:
    runner.replies["apt-get indextargets"] = f"{TARGETS}http://other bookworm-backports main\n"
    packages.ensure(["incus"], backports_of="bookworm")
    assert not source.exists()


def test_no_mirror_for_backports(packages: Packages, runner: FakeRunner) -> None:
    runner.replies["apt-get indextargets"] = "http://x jammy main\n"
    with pytest.raises(ControlError, match="No package source of this host has bookworm main"):
        packages.ensure(["incus"], backports_of="bookworm")


def test_failed_update_alone_stops_nothing(
    packages: Packages, runner: FakeRunner, screen: Screen
) -> None:
    runner.replies["apt-get -q -y -o DPkg::Lock::Timeout=300 update"] = Completed(100)
    packages.ensure(["acl"])
    assert "going on" in screen.text
    assert runner.commands[-1].endswith("acl")


def test_failed_installation_names_the_packages(packages: Packages, runner: FakeRunner) -> None:
    runner.replies["apt-get -q -y -o DPkg::Lock::Timeout=300 install"] = Completed(
        100, "", "E: Unable to locate package acl"
    )
    with pytest.raises(ControlError, match=r"could not install acl[^$]*Unable to locate"):
        packages.ensure(["acl"])


def test_which_systems_need_backports() -> None:
    assert backports_release({"ID": "debian", "VERSION_ID": "12"}) == "bookworm"
    assert backports_release({"ID": "debian", "VERSION_ID": "13"}) is None
    assert backports_release({"ID": "ubuntu", "VERSION_ID": "24.04"}) is None
