"""From sockets and containers to ports, and to advice."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructor.domains.network import scan
from infrastructor.domains.network.addresses import from_hex, routes
from infrastructor.domains.network.models import PortScan
from infrastructor.domains.network.ports import counts, port_rows, problems_of
from infrastructor.domains.network.sockets import Sockets
from infrastructor.errors import ValidationFailed
from tests.unit.network.build import container, published, recorded_containers, recorded_sockets, socket, sockets


def told(found: Sockets, *containers: object) -> list[tuple[object, ...]]:
    return [
        (row.protocol, row.port, row.scope.value, row.how, row.process, row.container, row.container_port)
        for row in port_rows(found, containers)  # type: ignore[arg-type]
    ]


def test_the_ports_of_a_recorded_docker_host() -> None:
    assert told(recorded_sockets("debian-12-docker"), *recorded_containers("docker-20.10")) == [
        ("udp", 514, "all", "listening", "python3", None, None),
        ("udp", 5353, "all", "listening", "docker-proxy", "shop-web-1", 53),
        ("tcp", 8000, "loopback", "listening", "python3", None, None),
        ("tcp", 8001, "all", "listening", "python3", None, None),
        ("tcp", 8080, "all", "listening", "docker-proxy", "shop-web-1", 80),
        ("tcp", 8443, "loopback", "listening", "docker-proxy", "shop-web-1", 443),
        ("tcp", 9000, "all", "listening", "httpd", "proxy", None),
    ]


def test_a_container_of_podman_behind_conmon_is_named() -> None:
    rows = told(recorded_sockets("debian-12-podman"), *recorded_containers("podman-4.3"))
    assert ("tcp", 8180, "all", "listening", "conmon", "media_app", 80) in rows


def test_without_an_engine_the_cgroup_still_tells_the_container() -> None:
    rows = port_rows(recorded_sockets("debian-12-docker"), ())
    assert [row.container for row in rows if row.port == 9000] == ["cc2db6d7195a"]


def test_both_families_of_one_socket_are_one_row() -> None:
    [row] = port_rows(sockets(socket(80), socket(80, "::"), socket(80, "0.0.0.0")), ())
    assert row.addresses == ["0.0.0.0", "::"]


def test_a_published_port_without_a_socket_is_listed() -> None:
    web = container("shop/web", ports=(published(80, 8080), published(80, 8080, "::")))
    [row] = port_rows(sockets(), (web,))
    assert (row.how, row.process, row.container, row.container_port, row.stack, row.addresses) == (
        *("forwarded", None, "shop-web-1", 80, "shop"),
        ["0.0.0.0", "::"],
    )


def test_a_listener_that_nat_takes_the_packets_from_is_a_problem() -> None:
    found = sockets(socket(8080))
    rows = port_rows(found, (container("web", ports=(published(80, 8080),)),))
    assert [(row.how, row.process, row.container) for row in rows] == [
        ("forwarded", None, "web"),
        ("listening", "nginx", None),
    ]
    assert "nginx listens, but the engine forwards it to web" in problems_of(found, rows)[0]


def test_a_login_that_is_not_root_is_told_what_it_cannot_see() -> None:
    found = recorded_sockets("debian-12-plain-user")
    rows = port_rows(found, recorded_containers("docker-20.10"))
    assert [row.container for row in rows if row.port == 8080] == ["shop-web-1"]
    assert "the login is not root" in problems_of(found, rows)[0]
    assert all(row.process is None for row in rows)


def test_a_port_counts_once_in_its_widest_scope() -> None:
    rows = port_rows(sockets(socket(53, "127.0.0.1"), socket(53, "10.0.0.1"), socket(53, "0.0.0.0", "other")), ())
    assert counts(rows) == {"tcp/all": 1}


@pytest.mark.parametrize(
    ("text", "big", "address"),
    [
        ("0100007F", False, "127.0.0.1"),
        ("7F000001", True, "127.0.0.1"),
        ("000080FE00000000FF0002FC01000000", False, "fe80::fc02:ff:0:1"),
        ("FE80000000000000FC0200FF00000001", True, "fe80::fc02:ff:0:1"),
        ("0000000000000000FFFF0000050A0A0A", False, "10.10.10.5"),
    ],
)
def test_addresses_are_read_in_the_byte_order_of_the_machine(text: str, big: bool, address: str) -> None:
    assert from_hex(text, big=big) == ip_address(address)


def test_a_route_of_a_big_endian_machine() -> None:
    text = "Iface\teth0\nbr-lan\tC0A80100\t00000000\t0001\t0\t0\t0\tFFFFFF00\t0\t0\t0\n"
    [route] = routes(text, True)
    assert str(route.network) == "192.168.1.0/24"


# --- scan ------------------------------------------------------------------------------------------------


def scanned(wanted: str | None, found: Sockets, *containers: object, count: int = 3) -> PortScan:
    everything = list(containers)
    return scan.scan(
        device="nas",
        protocol="tcp",
        wanted=scan.wanted_ports(wanted),
        count=count,
        found=found,
        rows=port_rows(found, everything),  # type: ignore[arg-type]
        stopped=[one for one in everything if not one.running],  # type: ignore[attr-defined]
        problems=[],
    )


def test_the_recorded_host_has_a_stopped_container_that_cannot_start() -> None:
    found = scanned("8079-8081,9300", recorded_sockets("debian-12-docker"), *recorded_containers("docker-20.10"))
    assert found.free == ["8079", "8081"]
    assert [(claim.port, claim.kind, claim.holder) for claim in found.taken] == [
        (8080, "listening", "shop-web-1"),
        (8080, "reserved", "stopped"),
        (9300, "reserved", "stopped"),
    ]
    assert [(one.port, one.holders) for one in found.conflicts] == [
        (8080, ["shop-web-1 (listening)", "stopped (reserved)"])
    ]
    assert found.advice == [8079, 8078, 8081]


def test_what_the_kernel_may_hand_out_or_keeps_is_said_and_not_advised() -> None:
    found = scanned("32767-32769,8200", sockets(reserved=((8200, 8200), (32769, 32769))))
    assert (found.ephemeral, found.kernel_reserved) == (["32768"], ["8200", "32769"])
    assert found.advice == [32767, 32766, 32765]


def test_the_same_port_on_apart_addresses_is_no_conflict() -> None:
    one = container("one", state="exited", bindings=(published(80, 80, "10.0.0.1"),))
    other = container("other", state="exited", bindings=(published(80, 80, "10.0.0.2"),))
    both = container("both", state="exited", bindings=(published(80, 80),))
    assert scanned(None, sockets(), one, other).conflicts == []
    assert [len(found.holders) for found in scanned(None, sockets(), one, other, both).conflicts] == [3]


@pytest.mark.parametrize("text", ["0", "70000", "20-10", "99999"])
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(ValidationFailed, match="no range of ports"):
        scan.wanted_ports(text)


@given(st.sets(st.integers(1, 65535), max_size=50))
def test_ranges_hold_exactly_the_ports(ports: set[int]) -> None:
    assert set(scan.wanted_ports(",".join(scan.as_ranges(ports)))) == ports


@given(st.sets(st.integers(8000, 8200), max_size=150), st.integers(8000, 8200), st.integers(1, 20))
def test_advice_is_free_near_and_always_the_same(taken: set[int], start: int, count: int) -> None:
    found = sockets(*(socket(port) for port in sorted(taken)))
    advice = scanned(str(start), found, count=count).advice
    assert len(advice) == count
    assert not taken & set(advice)
    assert scanned(str(start), found, count=count).advice == advice
    farthest = max(abs(port - start) for port in advice)
    nearer = set(range(start - farthest + 1, start + farthest)) - taken
    assert nearer <= set(advice)
