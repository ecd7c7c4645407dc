"""From the kernel's files to interfaces."""

from infrastructor.domains.network import links
from tests.unit.network.build import recorded_links


def test_bonds_vlans_and_tunnels_are_told_and_troubles_spelled_out() -> None:
    found = links.describe("nas", recorded_links("server-composed"), every=False)
    rows = {row.name: row for row in found.interfaces}
    assert {name: row.kind for name, row in rows.items()} == {
        "bond0": "bond", "enp1s0": "ethernet", "enp2s0": "ethernet", "bond0.20": "vlan", "wg0": "wireguard",
        "wlan0": "wlan",
    }  # fmt: skip
    assert (rows["bond0"].members, rows["bond0"].speed_mbps) == (["enp1s0", "enp2s0"], 2000)
    assert (rows["bond0.20"].members, rows["bond0.20"].addresses) == (["bond0"], ["192.168.20.5/24"])
    assert (rows["enp2s0"].speed_mbps, rows["enp2s0"].duplex, rows["wg0"].mac) == (None, None, None)
    assert rows["wg0"].rx_bytes is None
    assert (found.dns_servers, found.dns_search) == (["192.168.1.1", "fd00::53"], ["home.arpa"])
    assert [said.split()[0] for said in found.problems] == ["enp1s0", "bond0.20"]


def test_the_ends_of_containers_are_counted() -> None:
    found = links.describe("nas", recorded_links("debian-12-docker"), every=False)
    bridges = {row.name: row.members for row in found.interfaces if row.kind == "bridge"}
    assert (bridges["docker0"], found.veth_count) == (["2 veth"], 8)
    assert [row.name for row in found.interfaces if row.kind == "veth"] == ["eth0"]
    everything = links.describe("nas", recorded_links("debian-12-docker"), every=True)
    assert len(everything.interfaces) == len(found.interfaces) + 8


def test_busybox_tells_the_same_as_iproute() -> None:
    one = links.describe("nas", recorded_links("debian-12-docker"), every=True)
    other = links.describe("nas", recorded_links("busybox-1.35"), every=True)
    told = [(row.name, row.kind, row.addresses, row.members) for row in one.interfaces]
    assert [(row.name, row.kind, row.addresses, row.members) for row in other.interfaces] == told
    assert other.default_routes == one.default_routes
