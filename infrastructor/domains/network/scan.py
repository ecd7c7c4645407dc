"""Which wanted ports are free, who has the others, and which are near. Pure and deterministic."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from infrastructor.domains.network.containers import Container
from infrastructor.domains.network.models import Claim, PortConflict, PortRow, PortScan, Protocol, Scope
from infrastructor.domains.network.ports import protocol_of
from infrastructor.domains.network.sockets import Sockets
from infrastructor.errors import ValidationFailed
from infrastructor.paging import fitting

TOP_PORT = 65535
_PRIVILEGED = 1024
_DEFAULT_START = 8080  # where people look for a free port
_SHOWN = 100
_BUDGET = 12_000  # characters of each list
_EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 — what others bind to

Key = tuple[Protocol, int]


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has a port, or will have it once started."""

    kind: Literal["listening", "forwarded", "reserved"]
    owner: str
    addresses: frozenset[str]

    @property
    def text(self) -> str:
        everywhere = not self.addresses or bool(self.addresses & _EVERYWHERE)
        return self.owner if everywhere else f"{self.owner} on {', '.join(sorted(self.addresses))}"

    def collides(self, other: "Holder") -> bool:
        """Whether both cannot have the port: of two that run already, only NAT can take it from a listener."""
        if self.owner == other.owner or {self.kind, other.kind} == {"listening"}:
            return False
        if not self.addresses or not other.addresses or (self.addresses | other.addresses) & _EVERYWHERE:
            return True
        return bool(self.addresses & other.addresses)


def wanted_ports(text: str | None) -> list[int]:
    """`8080,9000-9010` in order, each once. Raises `ValidationFailed` for what is no port."""
    found: dict[int, None] = {}
    for part in filter(None, (text or "").split(",")):
        first, _, last = part.partition("-")
        start, end = int(first), int(last or first)
        if not 0 < start <= end <= TOP_PORT:
            raise ValidationFailed(
                f"{part!r} is no range of ports.", hint="Ports are 1 to 65535, ranges first-last, e.g. 8080,9000-9010."
            )
        found |= dict.fromkeys(range(start, end + 1))
    return list(found)


def scan(
    *,
    device: str,
    protocol: Protocol,
    wanted: Sequence[int],
    count: int,
    found: Sockets,
    rows: Sequence[PortRow],
    stopped: Sequence[Container],
    problems: list[str],
) -> PortScan:
    """`rows` are the ports in use, `stopped` the containers, in full, that do not run."""
    holders = _holders(rows, stopped)
    taken = {port for kind, port in holders if kind == protocol}
    reserved = {port for first, last in found.reserved for port in range(first, min(last, TOP_PORT) + 1)}
    low, high = found.ephemeral or (0, -1)
    ephemeral = set(range(low, min(high, TOP_PORT) + 1)) - reserved
    claims = [
        Claim(port=port, kind=holder.kind, holder=holder.text)
        for port in wanted
        for holder in holders.get((protocol, port), ())
    ]
    return PortScan(
        device=device,
        protocol=protocol,
        free=as_ranges(set(wanted) - taken),
        taken=fitting(claims[:_SHOWN], _BUDGET),
        taken_total=len(claims),
        ephemeral=as_ranges(ephemeral.intersection(wanted)),
        kernel_reserved=as_ranges(reserved.intersection(wanted)),
        ephemeral_range=None if found.ephemeral is None else f"{low}-{high}",
        advice=_advice(wanted, count, taken | reserved | ephemeral),
        conflicts=fitting(list(_conflicts(holders))[:_SHOWN], _BUDGET),
        problems=problems,
    )


def as_ranges(ports: Iterable[int]) -> list[str]:
    """`{1, 2, 3, 7}` → `["1-3", "7"]`."""
    spans: list[list[int]] = []
    for port in sorted(ports):
        if spans and spans[-1][1] == port - 1:
            spans[-1][1] = port
        else:
            spans.append([port, port])
    return [str(first) if first == last else f"{first}-{last}" for first, last in spans]


def _holders(rows: Iterable[PortRow], stopped: Iterable[Container]) -> dict[Key, list[Holder]]:
    found: dict[Key, dict[tuple[str, str], set[str]]] = {}
    for row in rows:
        owner = row.container or row.unit or row.process or "unknown process"
        found.setdefault((row.protocol, row.port), {}).setdefault((row.how, owner), set()).update(
            _EVERYWHERE if row.scope is Scope.ALL else row.addresses
        )
    for container in stopped:
        for binding in container.details.bindings if container.details else ():
            if binding.host_port is None:
                continue
            addresses = found.setdefault((protocol_of(binding), binding.host_port), {}).setdefault(
                ("reserved", container.name), set()
            )
            # Docker takes no address for every address.
            everywhere = binding.address is None or binding.address.is_unspecified
            addresses.update(_EVERYWHERE if everywhere else {str(binding.address)})
    return {
        key: [Holder(kind, owner, frozenset(addresses)) for (kind, owner), addresses in owners.items()]  # type: ignore[arg-type]
        for key, owners in found.items()
    }


def _conflicts(holders: Mapping[Key, Sequence[Holder]]) -> Iterator[PortConflict]:
    for (protocol, port), owners in sorted(holders.items(), key=lambda item: (item[0][1], item[0][0])):
        colliding: dict[str, None] = {}
        for one, other in combinations(owners, 2):
            if one.collides(other):
                colliding |= {f"{holder.text} ({holder.kind})": None for holder in (one, other)}
        if colliding:
            yield PortConflict(port=port, protocol=protocol, holders=list(colliding))


def _advice(wanted: Sequence[int], count: int, barred: set[int]) -> list[int]:
    """The free ports nearest to the first wanted one, the higher of two that are equally near first."""
    start = wanted[0] if wanted else _DEFAULT_START
    lowest = 1 if start < _PRIVILEGED else _PRIVILEGED
    found: list[int] = []
    for distance in range(TOP_PORT):
        for port in dict.fromkeys((start + distance, start - distance)):
            if lowest <= port <= TOP_PORT and port not in barred:
                found.append(port)
                if len(found) == count:
                    return found
    return found
