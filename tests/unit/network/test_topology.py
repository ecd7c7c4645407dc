"""Networks, members, and ranges that collide."""

from ipaddress import ip_network

from infrastructor.domains.network import topology
from infrastructor.domains.network.addresses import Route, parse_address
from infrastructor.domains.network.commands import ReadRoutes
from infrastructor.domains.network.containers import EngineNetwork
from infrastructor.domains.network.queries import DescribeNetworks
from tests.unit.network.build import output, recorded_containers


def network(name: str, subnet: str, driver: str = "bridge") -> EngineNetwork:
    return EngineNetwork(
        id=name * 2,
        name=name,
        driver=driver,
        scope="local",
        subnets=(ip_network(subnet),),
        gateways=(),
        internal=False,
        attachable=False,
        stack=None,
        interface=f"br-{name}",
    )


def test_the_networks_of_a_recorded_docker_host() -> None:
    networks = DescribeNetworks().parse(output("DescribeNetworks", "docker-20.10"))
    members = topology.members_of(recorded_containers("docker-20.10"))
    rows = {row.name: row for row in topology.describe_all(networks, members)}
    assert rows["shop_default"].members == {
        "shop-cache-1": "172.18.0.3", "shop-db-1": "172.18.0.2", "shop-web-1": "172.18.0.4",
    }  # fmt: skip
    assert (rows["shop_default"].stack, rows["bridge"].interface, rows["quiet"].internal) == ("shop", "docker0", True)
    assert rows["host"].members == {"proxy": None}
    assert sorted(topology.unused(networks, members)) == ["overlapping", "quiet"]
    assert topology.overlaps(networks, ReadRoutes().parse(output("ReadRoutes", "debian-12-docker"))) == []


def test_the_networks_of_a_recorded_podman_host() -> None:
    networks = DescribeNetworks().parse(output("DescribeNetworks", "podman-4.3"))
    members = topology.members_of(recorded_containers("podman-4.3"))
    rows = {row.name: row for row in topology.describe_all(networks, members)}
    assert rows["media"].members == {"media_app": "10.89.0.3", "media_db": "10.89.0.2"}
    assert rows["media"].interface == "cni-podman1"
    assert topology.unused(networks, members) == []


def test_ranges_that_collide_with_each_other_and_with_the_hosts_routes() -> None:
    networks = [network("a", "10.1.0.0/16"), network("b", "10.1.2.0/24"), network("c", "fd00::/64")]
    routes = [
        Route(ip_network("0.0.0.0/0"), "eth0", parse_address("10.1.0.1"), 0),
        Route(ip_network("10.1.2.0/24"), "br-b", None, 0),
        Route(ip_network("fd00::/48"), "wg0", parse_address("fe80::1"), 0),
    ]
    found = [(one.network, one.subnet, one.other, one.other_subnet) for one in topology.overlaps(networks, routes)]
    assert found == [
        ("a", "10.1.0.0/16", "b", "10.1.2.0/24"),
        ("c", "fd00::/64", "route through wg0 via fe80::1", "fd00::/48"),
    ]


def test_a_macvlan_shares_the_range_of_the_wire_on_purpose() -> None:
    routes = [Route(ip_network("192.168.1.0/24"), "eth0", None, 0)]
    networks = [network("lan", "192.168.1.0/24", "macvlan"), network("iot", "192.168.1.0/25", "ipvlan")]
    assert topology.overlaps(networks, routes) == []


def test_a_page_of_networks_with_hundreds_of_members_stays_small() -> None:
    networks = [network(f"application-{number}_default", f"10.{number}.0.0/16") for number in range(40)]
    inside: dict[str, str | None] = {f"application-container-{number}-1": "172.20.100.100" for number in range(500)}
    rows = topology.describe_all(networks, {one.name: inside for one in networks})
    assert sum(len(row.model_dump_json()) for row in rows) < 30_000
    assert {row.members_total for row in rows} == {500}
    assert len(topology.describe_all(networks[:1], {networks[0].name: inside})[0].members) == 300
    assert topology.matches(networks[0], {networks[0].name: inside}, "container-499")
