import dataclasses
import ipaddress
import json

import pytest

from control import host
from control.errors import ControlError
from control.host import FIRST_DEPLOYMENT, GIB, LATER_DEPLOYMENT, Host, Route
from control.project import Network, Project

# eth0 192.168.0.0/24 and a default route, as the kernel writes them
ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
*\t0008090A\t00000000\t0200\t0\t0\t9999\t00FFFFFF\t0\t0\t0
"""


@pytest.fixture
def network(project: Project) -> Network:
    return project.network()


@pytest.fixture
def good() -> Host:
    return Host(
        system={"ID": "debian", "VERSION_ID": "12"},
        user_id=0,
        cores=2,
        available_memory=16 * GIB,
        free_disk=80 * GIB,
        free_pool=None,
        routes=host.parse_routes(ROUTES),
        name_server_everywhere=False,
        has_apt=True,
        has_ca_bundle=True,
    )


def with_route(good: Host, interface: str, network: str, *, gateway: bool) -> Host:
    route = Route(interface, ipaddress.IPv4Network(network), gateway)
    return dataclasses.replace(good, routes=[*good.routes, route])


def test_good_host_passes_without_a_word(good: Host, network: Network) -> None:
    assert host.check(good, network, FIRST_DEPLOYMENT) == []


def test_unknown_system_is_only_a_warning(good: Host, network: Network) -> None:
    other = dataclasses.replace(good, system={"ID": "mint", "VERSION_ID": "22"})
    (warning,) = host.check(other, network, FIRST_DEPLOYMENT)
    assert "mint 22" in warning


def test_every_problem_is_listed_at_once(good: Host, network: Network) -> None:
    bad = dataclasses.replace(
        good,
        user_id=1000,
        cores=1,
        available_memory=3 * GIB,
        free_disk=9 * GIB,
        free_pool=19 * GIB,
        name_server_everywhere=True,
        has_apt=False,
        has_ca_bundle=False,
    )
    with pytest.raises(ControlError) as failed:
        host.check(bad, network, FIRST_DEPLOYMENT)
    message = str(failed.value)
    assert message.count("\n  - ") == 8
    for part in (
        *("sudo make up", "ca-certificates", "3.0 GiB of memory", "9.0 GiB of disk"),
        *("19.0 GiB free in Incus's storage pool", "incus storage set default"),
    ):
        assert part in message


def test_less_is_asked_once_the_platform_is_there(good: Host, project: Project) -> None:
    busy = dataclasses.replace(
        good, available_memory=5 * GIB, free_disk=12 * GIB, free_pool=6 * GIB
    )
    assert host.demand_of(project) == FIRST_DEPLOYMENT
    state = project.terraform / "terraform.tfstate"
    state.write_text(json.dumps({"resources": []}))
    assert host.demand_of(project) == FIRST_DEPLOYMENT
    state.write_text(json.dumps({"resources": [{}]}))
    assert host.demand_of(project) == LATER_DEPLOYMENT
    assert host.check(busy, project.network(), LATER_DEPLOYMENT) == []


@pytest.mark.parametrize(
    ("interface", "other", "gateway", "taken"),
    [
        ("eth1", "10.9.8.0/24", False, True),  # the same range
        ("eth1", "10.9.8.128/25", True, True),  # part of it, behind a router
        ("eth1", "10.0.0.0/8", False, True),  # the host's own wide network
        ("tun0", "10.0.0.0/8", True, False),  # wide, behind a router: the bridge's route wins
        ("eth1", "10.9.7.0/24", False, False),  # a neighbour
        ("br9", "10.9.8.0/24", False, False),  # the bridge itself
    ],
)
def test_range_in_use(
    good: Host, network: Network, interface: str, other: str, gateway: bool, taken: bool
) -> None:
    this = with_route(good, interface, other, gateway=gateway)
    if taken:
        with pytest.raises(ControlError, match=r"interface " + interface):
            host.check(this, network, FIRST_DEPLOYMENT)
    else:
        assert host.check(this, network, FIRST_DEPLOYMENT) == []


def test_name_server_matters_only_before_the_bridge(good: Host, network: Network) -> None:
    later = with_route(good, "br9", "10.9.8.0/24", gateway=False)
    later = dataclasses.replace(later, name_server_everywhere=True)
    assert host.check(later, network, LATER_DEPLOYMENT) == []


def test_kernel_tables() -> None:
    routes = host.parse_routes(ROUTES)
    assert [(r.interface, str(r.network), r.through_gateway) for r in routes] == [
        ("eth0", "0.0.0.0/0", True),
        ("eth0", "192.168.0.0/24", False),
        ("*", "10.9.8.0/24", False),
    ]
    assert host.parse_available_memory("MemTotal: 9 kB\nMemAvailable:  1024 kB\n") == 2**20
    sockets = "  sl  local_address rem_address\n 1: {}:0035 00000000:0000 07"
    assert host.listens_everywhere(sockets.format("00000000"), 53)
    assert not host.listens_everywhere(sockets.format("3500007F"), 53)
    assert host.parse_os_release('ID=ubuntu\nVERSION_ID="24.04"\n')["VERSION_ID"] == "24.04"


def test_this_host_can_be_read() -> None:
    this = host.read_host()
    assert this.cores >= 1
    assert this.available_memory > 0
    assert this.free_disk > 0


def test_wrong_network_file_is_named(project: Project) -> None:
    (project.terraform / "network.json").write_text('{"bridge": "br9", "subnet": "10.9.8.1/24"}')
    with pytest.raises(ControlError, match=r"network\.json must hold"):
        project.network()
