"""Addresses and routes as the kernel's text files write them. Pure.

Seen: /proc/net of Linux 6. Words of an address stand in the byte order of the machine.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from infrastructor.domains.network.models import Scope
from infrastructor.domains.system.parsers import total

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_BIG_ENDIAN = 2  # EI_DATA in the ELF header of any program
_ROUTE_IS_UP = 1
_WORD = 8
_V4_LENGTH = 8


def big_endian(elf_header: str) -> bool:
    """Whether the machine that runs a program with this header stores big ends first; unknown is no."""
    return elf_header.startswith("\x7fELF") and len(elf_header) > 5 and ord(elf_header[5]) == _BIG_ENDIAN  # noqa: PLR2004


def from_hex(text: str, *, big: bool) -> Address:
    """`0100007F` or 32 digits as an address; an IPv4 address inside IPv6 comes out as IPv4. Raises ValueError."""
    words = [bytes.fromhex(text[start : start + _WORD]) for start in range(0, len(text), _WORD)]
    packed = b"".join(word if big else word[::-1] for word in words)
    address = IPv4Address(packed) if len(text) == _V4_LENGTH else IPv6Address(packed)
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def scope_of(address: Address) -> Scope:
    if address.is_unspecified:
        return Scope.ALL
    return Scope.LOOPBACK if address.is_loopback else Scope.ADDRESS


class Route(NamedTuple):
    """One line of a routing table; no gateway for what is on the link."""

    network: Network
    interface: str
    gateway: Address | None
    metric: int


@total
def routes(text: str, big: bool) -> tuple[Route, ...]:
    """`/proc/net/route`."""
    found = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if not int(fields[3], 16) & _ROUTE_IS_UP:
            continue
        destination, gateway, mask = (from_hex(fields[place], big=big) for place in (1, 2, 7))
        found.append(
            Route(
                network=ip_network(f"{destination}/{mask}", strict=False),
                interface=fields[0],
                gateway=None if gateway.is_unspecified else gateway,
                metric=int(fields[6]),
            )
        )
    return tuple(found)


@total
def routes6(text: str) -> tuple[Route, ...]:
    """`/proc/net/ipv6_route`, whose addresses are plain; local, multicast and link-local lines left out."""
    found = []
    for line in text.splitlines():
        destination, length, _, _, gateway, metric, _, _, flags, interface = line.split()
        network = ip_network((int(destination, 16).to_bytes(16, "big"), int(length, 16)))
        via = IPv6Address(int(gateway, 16))
        # RTF_LOCAL, RTF_ANYCAST, RTF_REJECT
        if interface == "lo" or int(flags, 16) & 0x80100200 or network.is_multicast or network.is_link_local:
            continue
        found.append(Route(network, interface, None if via.is_unspecified else via, int(metric, 16)))
    return tuple(found)


def parse_address(text: object) -> Address | None:
    """An address from JSON or a file; None for anything else. A zone (`%eth0`) is dropped."""
    try:
        return ip_address(str(text).partition("%")[0].partition("/")[0])
    except ValueError:
        return None


def parse_network(text: object) -> Network | None:
    try:
        return ip_network(str(text), strict=False) if text else None
    except ValueError:
        return None
