"""Keeps the machines' address range on this host.

A blackhole route catches what is sent there while the bridge is missing: without it the packets
would follow the default route out of the host.
"""

import shutil
from pathlib import Path

from control.project import Network
from control.runner import Runner

# Far worse than the bridge's own route, which therefore wins as long as it is there.
METRIC = 9999
UNIT = Path("/etc/systemd/system/mlops-route-guard.service")
SYSTEMD_RUNS = Path("/run/systemd/system")


def ensure_guard(
    runner: Runner, network: Network, *, unit: Path = UNIT, systemd: Path = SYSTEMD_RUNS
) -> None:
    """Set the route now and, where systemd runs, at every start of the host.

    Args:
        runner: runs `ip` and `systemctl`.
        network: the range to guard.
        unit: where the systemd unit is written.
        systemd: the folder that exists while systemd runs.
    """
    route = ["ip", "route", "replace", "blackhole", str(network.subnet), "metric", str(METRIC)]
    runner.run(route)
    if not systemd.is_dir():
        return
    program = shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin:/bin") or "/usr/sbin/ip"
    content = f"""\
# Made by `make up`.
[Unit]
Description=Keep {network.subnet} from leaving this host
# Network managers may clear routes that they do not know when they start.
After=systemd-networkd.service NetworkManager.service networking.service
Before=incus.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={" ".join([program, *route[1:]])}

[Install]
WantedBy=multi-user.target
"""
    if not unit.exists() or unit.read_text() != content:
        unit.write_text(content)
        runner.run(["systemctl", "daemon-reload"])
    runner.run(["systemctl", "enable", "-q", unit.name])
