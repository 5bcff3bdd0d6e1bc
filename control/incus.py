"""Starts Incus and gives it what the machines need; what is there already stays as it is."""

import json
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from control.console import Console
from control.errors import ControlError
from control.guard import SYSTEMD_RUNS
from control.project import Network
from control.runner import CommandError, Runner, child_environment

# Debian and Ubuntu put the daemon into the first, its maker's own packages into the second.
DAEMON_PATHS = (Path("/usr/libexec/incus/incusd"), Path("/opt/incus/bin/incusd"))
DAEMON_LOG = Path("/var/log/incus/incusd.log")
DAEMON_GROUP = "incus-admin"
DATA_FOLDER = Path("/var/lib/incus")
STORAGE_POOL = "default"
STORAGE_POOL_FOLDER = DATA_FOLDER / "storage-pools" / STORAGE_POOL
PROFILE = "default"
LOOP_DEVICES = Path("/dev/loop-control")

# Of the free disk, how much a storage pool of its own file system may take; it takes what is used.
_POOL_SHARE = 0.8

_ANSWER_SECONDS = 15.0
# After the host's restart the daemon first starts its instances.
_READY_SECONDS = 180
_STOP_SECONDS = 120


class Incus:
    """The Incus of this host."""

    def __init__(
        self,
        runner: Runner,
        console: Console,
        *,
        daemon_paths: Sequence[Path] = DAEMON_PATHS,
        daemon_log: Path = DAEMON_LOG,
        systemd: Path = SYSTEMD_RUNS,
        data_folder: Path = DATA_FOLDER,
        loop_devices: Path = LOOP_DEVICES,
    ) -> None:
        self._runner = runner
        self._console = console
        self._daemon_paths = daemon_paths
        self._daemon_log = daemon_log
        self._systemd = systemd
        self._data_folder = data_folder
        self._loop_devices = loop_devices

    def ensure_running(self) -> None:
        """Start the daemon unless it answers.

        It cleans up by itself after one that was killed: it replaces the socket, and starts the
        instances that ran.

        Raises:
            ControlError: it does not come up.
        """
        if self.answers():
            return
        if self._systemd.is_dir():
            self._console.say("    starting incus.service")
            self._runner.run(["systemctl", "enable", "-q", "--now", "incus.service"])
        else:
            daemon = self._daemon()
            process_id = running_process(daemon)
            if process_id is None:
                self._console.say(f"    starting {daemon}")
                self._start_detached(daemon)
            else:
                self._console.say(f"    waiting for {daemon} (process {process_id})")
        result = self._runner.run(
            ["incus", "admin", "waitready", f"--timeout={_READY_SECONDS}"], check=False
        )
        if result.returncode != 0 or not self.answers():
            where = "`journalctl -u incus`" if self._systemd.is_dir() else str(self._daemon_log)
            raise ControlError(
                f"Incus does not answer after {_READY_SECONDS} s; {where} says why. "
                "If it hangs, end the process incusd, then run this again."
            )

    def answers(self) -> bool:
        """Whether the daemon answers."""
        return self._query("/1.0") is not None

    def ensure_initialised(self, network: Network) -> None:
        """Make the bridge, the storage pool and the profile, each unless it is there.

        Raises:
            ControlError: something of the same name is there but cannot carry the machines.
        """
        self._ensure_bridge(network)
        if self._query(f"/1.0/storage-pools/{STORAGE_POOL}") is None:
            self._make_pool()
        self._ensure_profile(network)

    def _make_pool(self) -> None:
        """Make a storage pool of btrfs where the host can, otherwise a plain folder.

        With btrfs a machine is made in a moment, as a copy that shares its files with its image,
        and its disk can be bounded. It needs the kernel's support, its tools and a loop device; a
        plain folder needs nothing.
        """
        if self._has_btrfs():
            bytes_in_all = int(shutil.disk_usage(self._data_folder).free * _POOL_SHARE)
            size = f"size={bytes_in_all // 2**30}GiB"
            try:
                self._change("storage", "create", STORAGE_POOL, "btrfs", size)
                return
            except CommandError as error:
                self._console.say(f"    no pool of btrfs: {error}")
        self._change("storage", "create", STORAGE_POOL, "dir")

    def _has_btrfs(self) -> bool:
        server = self._query("/1.0") or {}
        drivers = server.get("environment", {}).get("storage_supported_drivers", [])
        return self._loop_devices.exists() and "btrfs" in {driver["Name"] for driver in drivers}

    def _ensure_bridge(self, network: Network) -> None:
        wanted = {
            "ipv4.address": str(network.gateway),
            "ipv4.nat": "true",
            "ipv6.address": "none",
        }
        found = self._query(f"/1.0/networks/{network.bridge}")
        if found is None:
            options = [f"{key}={value}" for key, value in wanted.items()]
            self._change("network", "create", network.bridge, "--type=bridge", *options)
            return
        if not found["managed"]:
            raise ControlError(
                f"The interface {network.bridge} exists and is not Incus's. Remove it "
                f"(`ip link delete {network.bridge}`) or name another bridge in "
                "terraform/network.json."
            )
        address = found["config"].get("ipv4.address")
        if address != wanted["ipv4.address"]:
            raise ControlError(
                f"The Incus network {network.bridge} has the address {address}, not "
                f"{wanted['ipv4.address']}. It may serve other machines, so it stays as it is: "
                "name another bridge, or this range, in terraform/network.json."
            )

    def _ensure_profile(self, network: Network) -> None:
        profile = self._query(f"/1.0/profiles/{PROFILE}")
        devices = profile["devices"] if profile else {}
        if not any(device.get("path") == "/" for device in devices.values()):
            self._change(
                *("profile", "device", "add", PROFILE, "root", "disk", "path=/"),
                f"pool={STORAGE_POOL}",
            )
        interface = devices.get("eth0")
        if interface is None:
            self._change(
                *("profile", "device", "add", PROFILE, "eth0", "nic", "name=eth0"),
                f"network={network.bridge}",
            )
        elif interface.get("network") != network.bridge:
            raise ControlError(
                f"The Incus profile {PROFILE} puts eth0 on {interface.get('network')}, and the "
                f"machines need {network.bridge}: `incus profile device set {PROFILE} eth0 "
                f"network={network.bridge}`, if nothing else uses that profile."
            )

    def state_of(self, machine: str) -> str | None:
        """A machine's state (`Running`, `Stopped` ...), None where there is no such machine."""
        instance = self._query(f"/1.0/instances/{quote(machine)}")
        return None if instance is None else str(instance["status"])

    def start(self, machine: str) -> None:
        """Start a machine that is stopped, or let one go on that is frozen."""
        self._change("start", machine)

    def stop(self, machine: str) -> None:
        """Shut a machine down; its data stays."""
        self._change("stop", machine, f"--timeout={_STOP_SECONDS}")

    def _change(self, *arguments: str) -> None:
        self._console.say(f"    incus {' '.join(arguments)}")
        self._runner.run(["incus", *arguments])

    def _query(self, path: str) -> dict[str, Any] | None:
        """Ask the daemon; None where it does not answer or has no such thing."""
        try:
            result = self._runner.run(
                ["incus", "query", path], check=False, timeout=_ANSWER_SECONDS
            )
        except ControlError:
            return None
        if result.returncode != 0:
            return None
        return cast(dict[str, Any], json.loads(result.stdout))

    def _daemon(self) -> Path:
        for path in self._daemon_paths:
            if path.exists():
                return path
        raise ControlError(
            f"The Incus daemon is in none of {', '.join(map(str, self._daemon_paths))}: "
            "is the package incus-base installed?"
        )

    def _start_detached(self, daemon: Path) -> None:
        """Start the daemon so that it outlives this program and the terminal."""
        self._daemon_log.parent.mkdir(parents=True, exist_ok=True)
        # Its standard error has what it says before its own log file is open.
        with self._daemon_log.open("ab") as log:
            process = subprocess.Popen(
                [daemon, "--group", DAEMON_GROUP, "--logfile", self._daemon_log],
                cwd="/",
                env=child_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        # One that cannot start at all ends within a moment, and is reported with its reason.
        time.sleep(1)
        if process.poll() is not None:
            tail = "\n".join(self._daemon_log.read_text(errors="replace").splitlines()[-5:])
            raise ControlError(f"{daemon} ended at once with code {process.returncode}:\n{tail}")


def running_process(daemon: Path, processes: Path = Path("/proc")) -> int | None:
    """Find the process of a daemon that runs, whether or not it answers.

    Args:
        daemon: its program. Helpers of the same program that have a subcommand do not count.
        processes: the folder of the kernel's process table.
    """
    for entry in processes.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            program = (entry / "exe").readlink()
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # ended meanwhile, a zombie, or the kernel's own
        if program == daemon and (len(arguments) < 2 or arguments[1][:1] in (b"", b"-")):
            return int(entry.name)
    return None
