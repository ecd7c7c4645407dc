"""From the files of `ReadLinks` to interfaces, routes and resolvers. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infrastructor.domains.network.addresses import Route, big_endian, parse_address, routes, routes6
from infrastructor.domains.network.models import DefaultRoute, Interface, NetworkInterfaces
from infrastructor.domains.system.parsers import total
from infrastructor.paging import fitting
from infrastructor.sanitize import clean

_NO_SPEED = (1 << 32) - 1  # what some drivers say for -1
_SHOWN_MEMBERS = 20
_SHOWN_INTERFACES = 80
_ROWS, _PROBLEMS = 26_000, 6000  # characters
# /sys/class/net/*/type
_TYPES = {
    "772": "loopback", "768": "ipip", "769": "tunnel6", "776": "sit", "778": "gre", "823": "gre6", "512": "ppp",
    "32": "infiniband", "280": "can", "801": "wlan", "65534": "tun",
}  # fmt: skip
_SMALL_MTU = 1280  # IPv6 needs as much


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One interface as the kernel's files tell it."""

    name: str
    kind: str
    state: str
    mac: str | None
    mtu: int | None
    speed_mbps: int | None
    duplex: str | None
    lower: tuple[str, ...]
    addresses: tuple[str, ...]
    counters: tuple[int, ...]
    """The sixteen columns of /proc/net/dev."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkFacts:
    """Everything `ReadLinks` learns. `has_ip` False: no program told the IPv4 addresses."""

    links: tuple[Link, ...]
    default_routes: tuple[Route, ...]
    servers: tuple[str, ...]
    search: tuple[str, ...]
    has_ip: bool


@total
def parse_links(files: Mapping[str, str]) -> LinkFacts:
    """The files by path, as `split_files` gives them."""
    counters = _counters(files["/proc/net/dev"])
    addresses = _addresses(files)
    kinds = _kinds_of_ip(files.get("/ip/kinds", ""))
    vlans = _vlans(files.get("/proc/net/vlan/config", ""))
    signs = set(files.get("/link/signs", "").split("\n"))
    lower: dict[str, dict[str, None]] = {}
    for path in files.get("/link/lower", "").splitlines():
        upper, _, rest = path.partition("/")
        if rest:
            lower.setdefault(upper, {})[rest.removeprefix("lower_").removeprefix("brif/")] = None
    for vlan, parent in vlans.items():
        lower.setdefault(vlan, {})[parent] = None
    leaves: dict[str, dict[str, str]] = {}
    for line in files.get("/link/facts", "").splitlines():
        if line:
            name, leaf_name, value = line.split("\t", 2)
            leaves.setdefault(name, {})[leaf_name] = value.strip()
    found = []
    for name, leaf in leaves.items():
        kind = kinds.get(name) or ("vlan" if name in vlans else _kind(name, leaf, signs, bool(lower.get(name))))
        speed = leaf.get("speed", "")
        found.append(
            Link(
                name=clean(name),
                kind=clean(kind, 40),
                state=clean(leaf.get("operstate", "unknown"), 40),
                mac=_mac(leaf.get("address", "")),
                mtu=int(leaf["mtu"]) if leaf.get("mtu", "").isdecimal() else None,
                speed_mbps=int(speed) if speed.isdecimal() and 0 < int(speed) < _NO_SPEED else None,
                duplex=leaf["duplex"] if leaf.get("duplex") in {"full", "half"} else None,
                lower=tuple(clean(other) for other in lower.get(name, ())),
                addresses=tuple(addresses.get(name, ())),
                counters=counters.get(name, ()),
            )
        )
    big = big_endian(files.get("/program/header", ""))
    known = routes(files.get("/proc/net/route", ""), big) + routes6(files.get("/proc/net/ipv6_route", ""))
    ways = [route for route in known if route.network.prefixlen == 0]
    servers, search = _resolvers(files)
    return LinkFacts(
        links=tuple(found),
        default_routes=tuple(sorted(ways, key=lambda route: (route.network.version, route.metric))),
        servers=servers,
        search=search,
        has_ip="/ip/address" in files,
    )


def describe(device: str, facts: LinkFacts, *, every: bool) -> NetworkInterfaces:
    """The answer; the host ends of containers only with `every`."""
    veth = {link.name for link in facts.links if link.kind == "veth" and not _reachable(link)}
    shown = [link for link in facts.links if every or link.name not in veth]
    problems = [] if facts.has_ip else ["IPv4 addresses are unknown: the device has no ip."]
    problems += [said for link in facts.links if (said := _problem(link))]
    interfaces = fitting([_interface(link, veth) for link in shown[:_SHOWN_INTERFACES]], _ROWS)
    if len(interfaces) < len(shown):
        problems.insert(0, f"{len(shown) - len(interfaces)} more interfaces are not shown.")
    return NetworkInterfaces(
        device=device,
        interfaces=interfaces,
        veth_count=len(veth),
        default_routes=[
            DefaultRoute(
                gateway=None if route.gateway is None else str(route.gateway),
                interface=route.interface,
                metric=route.metric,
            )
            for route in facts.default_routes[:_SHOWN_MEMBERS]
        ],
        dns_servers=list(facts.servers),
        dns_search=list(facts.search),
        problems=fitting(problems, _PROBLEMS),
    )


def _interface(link: Link, veth: set[str]) -> Interface:
    members = [name for name in link.lower if name not in veth]
    ends = len(link.lower) - len(members)
    if len(members) > _SHOWN_MEMBERS:
        members = [*members[:_SHOWN_MEMBERS], f"{len(members) - _SHOWN_MEMBERS} more"]
    count = link.counters or None
    return Interface(
        name=link.name,
        kind=link.kind,
        state=link.state,
        addresses=list(link.addresses[:_SHOWN_MEMBERS]),
        mac=link.mac,
        mtu_bytes=link.mtu,
        speed_mbps=link.speed_mbps,
        duplex=link.duplex,
        members=members + ([f"{ends} veth"] if ends else []),
        rx_bytes=count and count[0],
        tx_bytes=count and count[8],
        errors=count and count[2] + count[10],
        dropped=count and count[3] + count[11],
    )


def _reachable(link: Link) -> bool:
    """Whether it has an address that somebody gave it."""
    addresses = [parse_address(address) for address in link.addresses]
    return any(address is not None and not address.is_link_local for address in addresses)


def _problem(link: Link) -> str | None:
    if link.duplex == "half" and link.state == "up":
        return f"{link.name} runs at half duplex: the other side may not negotiate."
    if link.mtu is not None and link.mtu < _SMALL_MTU and link.kind != "loopback":
        return f"{link.name} has an MTU of {link.mtu} bytes, too small for IPv6."
    if link.state == "lowerlayerdown":
        return f"{link.name} is down because what it stands on is."
    if link.state == "down" and link.addresses and link.kind in {"ethernet", "wlan", "bond"}:
        return f"{link.name} has {link.addresses[0]} and is down."
    return None


def _kind(name: str, leaf: Mapping[str, str], signs: set[str], stands_on_other: bool) -> str:
    """What `ip` is not there to tell. The signs are those of the kernel's own drivers."""
    if "devtype" in leaf:
        return leaf["devtype"]
    if "tun_flags" in leaf:
        return "tap" if int(leaf["tun_flags"] or "0", 16) & 2 else "tun"
    for sign, kind in (("bridge", "bridge"), ("bonding", "bond"), ("phy80211", "wlan"), ("device", "ethernet")):
        if f"{name}/{sign}" in signs:
            return kind
    if leaf.get("type") in _TYPES:
        return _TYPES[leaf["type"]]
    # A veth's other end is in another namespace, a macvlan's lower link is in this one.
    apart = leaf.get("iflink") != leaf.get("ifindex")
    return "veth" if apart and not stands_on_other else "macvlan" if apart else "virtual"


def _kinds_of_ip(text: str) -> dict[str, str]:
    """Names and kinds out of `ip -j -d link`; a link without a kind is followed by the next name."""
    found, name = {}, ""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key == '"ifname"':
            name = value.strip('"')
        elif key == '"info_kind"' and name:
            found[name] = value.strip('"')
    return found


def _counters(text: str) -> dict[str, tuple[int, ...]]:
    found = {}
    for line in text.splitlines()[2:]:
        name, _, rest = line.rpartition(":")
        numbers = tuple(int(word) for word in rest.split())
        if len(numbers) >= 12:  # noqa: PLR2004
            found[name.strip()] = numbers
    return found


def _addresses(files: Mapping[str, str]) -> dict[str, dict[str, None]]:
    """By interface, of `ip -o addr` (one line an address) or `ip addr`, and of /proc/net/if_inet6."""
    found: dict[str, dict[str, None]] = {}
    current = ""
    for line in files.get("/ip/address", "").splitlines():
        if match := re.match(r"\d+: ([^:@\s]+)(?:@[^:\s]+)?:?\s", line):
            current = match[1]
        if (match := re.search(r"\sinet6? ([0-9A-Fa-f:.]+)(?: peer [0-9A-Fa-f:.]+)?(/\d+)?", line)) and current:
            found.setdefault(current, {})[match[1] + (match[2] or "")] = None
    for line in files.get("/proc/net/if_inet6", "").splitlines():
        fields = line.split()
        address = parse_address(":".join(fields[0][start : start + 4] for start in range(0, 32, 4)))
        if address is not None:
            found.setdefault(fields[5], {})[f"{address}/{int(fields[2], 16)}"] = None
    return found


def _vlans(text: str) -> dict[str, str]:
    """`/proc/net/vlan/config`: `eth0.5 | 5 | eth0`."""
    rows = [[word.strip() for word in line.split("|")] for line in text.splitlines()[2:]]
    return {row[0]: row[2] for row in rows if len(row) == 3}  # noqa: PLR2004


def _mac(text: str) -> str | None:
    return text if re.fullmatch(r"([0-9a-f]{2}:){5,}[0-9a-f]{2}", text) and text.strip("0:") else None


def _resolvers(files: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Servers and search domains; the stub of systemd-resolved gives way to what is behind it."""
    servers, search = _resolv_conf(files.get("/etc/resolv.conf", ""))
    if servers and all(server in {"127.0.0.53", "127.0.0.54"} for server in servers):
        behind, more = _resolv_conf(files.get("/run/systemd/resolve/resolv.conf", ""))
        servers, search = behind or servers, search or more
    return servers, search


def _resolv_conf(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    words = [line.split() for line in text.splitlines()]
    servers: Sequence[str] = [row[1] for row in words if row[:1] == ["nameserver"] and len(row) > 1]
    search = next((row[1:] for row in reversed(words) if row[:1] in (["search"], ["domain"])), [])
    return tuple(clean(word, 100) for word in servers[:10]), tuple(clean(word, 255) for word in search[:10])
