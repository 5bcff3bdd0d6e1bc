"""Looks whether this host can carry the platform, before anything is changed."""

import ipaddress
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from control.errors import ControlError
from control.incus import STORAGE_POOL, STORAGE_POOL_FOLDER
from control.project import Network, Project
from control.runner import CA_BUNDLE

GIB = 2**30

SUPPORTED_SYSTEMS = (("debian", "12"), ("debian", "13"), ("ubuntu", "24.04"))
MINIMUM_CORES = 2

_DATA_FOLDER = Path("/var/lib")
_ROUTE_GATEWAY = 0x2
_DNS_PORT = 53


@dataclass(frozen=True)
class Demand:
    """What must be free on the host.

    Attributes:
        memory: bytes.
        disk: bytes.
        pool: bytes of Incus's storage pool, if there is one already.
    """

    memory: int
    disk: int
    pool: int


# The machine takes up to 10 GiB for inference and 6 GiB for the rest, most of it only under load.
FIRST_DEPLOYMENT = Demand(memory=12 * GIB, disk=30 * GIB, pool=20 * GIB)
# What the platform needs is taken already; this much is left for building and for the tools.
LATER_DEPLOYMENT = Demand(memory=1 * GIB, disk=5 * GIB, pool=5 * GIB)


@dataclass(frozen=True)
class Route:
    """One line of the kernel's IPv4 routing table.

    Attributes:
        interface: the interface it leads to, `*` for none.
        network: the addresses it is for.
        through_gateway: whether it leads on to a router.
    """

    interface: str
    network: ipaddress.IPv4Network
    through_gateway: bool


@dataclass(frozen=True)
class Host:
    """What the checks look at.

    Attributes:
        system: the fields of os-release.
        user_id: effective user; 0 is root.
        cores: processors this process may use.
        available_memory: bytes that can be had without swapping.
        free_disk: free bytes where Incus keeps its machines.
        free_pool: free bytes of its storage pool, None where there is none yet.
        routes: the routing table.
        name_server_everywhere: whether a program holds port 53 on every address.
        has_apt: whether packages come from apt.
        has_ca_bundle: whether the certificates that downloads are checked with are there.
    """

    system: dict[str, str]
    user_id: int
    cores: int
    available_memory: int
    free_disk: int
    free_pool: int | None
    routes: list[Route]
    name_server_everywhere: bool
    has_apt: bool
    has_ca_bundle: bool


def read_host() -> Host:
    """Look at this host."""
    return Host(
        system=parse_os_release(Path("/etc/os-release").read_text()),
        user_id=os.geteuid(),
        cores=len(os.sched_getaffinity(0)),
        available_memory=parse_available_memory(Path("/proc/meminfo").read_text()),
        free_disk=shutil.disk_usage(_DATA_FOLDER).free,
        free_pool=(
            shutil.disk_usage(STORAGE_POOL_FOLDER).free if STORAGE_POOL_FOLDER.is_dir() else None
        ),
        routes=parse_routes(Path("/proc/net/route").read_text()),
        name_server_everywhere=listens_everywhere(Path("/proc/net/udp").read_text(), _DNS_PORT),
        has_apt=shutil.which("apt-get") is not None,
        has_ca_bundle=CA_BUNDLE.is_file(),
    )


def demand_of(project: Project) -> Demand:
    """What must be free: much before the first deployment, little once the machine is there."""
    try:
        state = json.loads((project.terraform / "terraform.tfstate").read_text())
    except (OSError, ValueError):
        return FIRST_DEPLOYMENT
    return LATER_DEPLOYMENT if state.get("resources") else FIRST_DEPLOYMENT


def check(host: Host, network: Network, demand: Demand) -> list[str]:
    """Check the host.

    Returns:
        A sentence for each thing that is unusual but no reason to stop.

    Raises:
        ControlError: names every problem and what to do about each.
    """
    problems = list(_problems(host, network, demand))
    if problems:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise ControlError(f"This host is not ready:\n{listed}")
    name, version = host.system.get("ID", "unknown"), host.system.get("VERSION_ID", "")
    if (name, version) in SUPPORTED_SYSTEMS:
        return []
    supported = ", ".join(" ".join(system) for system in SUPPORTED_SYSTEMS)
    return [f"This host runs {name} {version}; only {supported} are tested. Going on all the same."]


def _problems(host: Host, network: Network, demand: Demand) -> Iterator[str]:
    if host.user_id != 0:
        yield "Machines and bridges are root's to make: run it with sudo (`sudo make up`)."
    if not host.has_apt:
        yield "There is no apt-get: use a host with Debian or Ubuntu."
    if not host.has_ca_bundle:
        yield f"{CA_BUNDLE} is missing: `apt-get install ca-certificates`."
    if host.cores < MINIMUM_CORES:
        yield f"{host.cores} processor core of the {MINIMUM_CORES} needed: give the host more."
    if host.available_memory < demand.memory:
        yield (
            f"{host.available_memory / GIB:.1f} GiB of memory available of the "
            f"{demand.memory / GIB:.0f} GiB needed: stop other programs or add memory."
        )
    if host.free_disk < demand.disk:
        yield (
            f"{host.free_disk / GIB:.1f} GiB of disk free in {_DATA_FOLDER} of the "
            f"{demand.disk / GIB:.0f} GiB needed: remove files there."
        )
    if host.free_pool is not None and host.free_pool < demand.pool:
        yield (
            f"{host.free_pool / GIB:.1f} GiB free in Incus's storage pool of the "
            f"{demand.pool / GIB:.0f} GiB needed: remove machines that nobody needs "
            f"(`incus list`), or make it larger (`incus storage set {STORAGE_POOL} size=...`)."
        )
    for route in host.routes:
        if _takes(route, network):
            yield (
                f"Addresses of {network.subnet} belong to interface {route.interface} "
                f"({route.network}): remove that route, or write another range into "
                "terraform/network.json."
            )
    bridge_is_up = any(route.interface == network.bridge for route in host.routes)
    if host.name_server_everywhere and not bridge_is_up:
        yield (
            f"A program holds UDP port {_DNS_PORT} on every address, and the bridge's name "
            "server needs it (`ss -lunp sport = :53` shows which): stop it, or bind it to an "
            "address of its own."
        )


def _takes(route: Route, network: Network) -> bool:
    """Whether a route claims the bridge's range for something else."""
    if route.interface in (network.bridge, "*") or not route.network.overlaps(network.subnet):
        return False
    # The bridge's own, narrower route wins over a wide one to a router, such as the default.
    wider = network.subnet.subnet_of(route.network) and route.network != network.subnet
    return not (route.through_gateway and wider)


def parse_os_release(text: str) -> dict[str, str]:
    """Read `/etc/os-release` (see os-release(5))."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {name: value.strip("\"'") for name, value in pairs}


def parse_available_memory(meminfo: str) -> int:
    """Read the available memory, in bytes, from `/proc/meminfo`."""
    for line in meminfo.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def parse_routes(table: str) -> list[Route]:
    """Read `/proc/net/route`, whose numbers are hexadecimal in the host's byte order."""
    routes = []
    for line in table.splitlines()[1:]:
        interface, destination, _gateway, flags, _, _, _, mask = line.split()[:8]
        address = ipaddress.IPv4Address(_kernel_number(destination))
        netmask = ipaddress.IPv4Address(_kernel_number(mask))
        network = ipaddress.IPv4Network(f"{address}/{netmask}", strict=False)
        routes.append(Route(interface, network, bool(int(flags, 16) & _ROUTE_GATEWAY)))
    return routes


def _kernel_number(text: str) -> int:
    return int.from_bytes(int(text, 16).to_bytes(4, "little"), "big")


def listens_everywhere(sockets: str, port: int) -> bool:
    """Whether `/proc/net/udp` has a socket on this port of every address."""
    return any(line.split()[1] == f"00000000:{port:04X}" for line in sockets.splitlines()[1:])
